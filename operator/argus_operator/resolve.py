"""Fills what a run leaves open from the chart's defaults. Pure."""

from collections.abc import Mapping

from argus_contract.names import KUEUE_QUEUE_LABEL
from argus_contract.pod_spec import Scheduling
from argus_contract.spec import ArgusTrainingJobSpec, StorageSpec
from argus_contract.status import Resolved
from argus_operator.configuration import Defaults


class Unresolvable(Exception):
    """Neither the run nor the chart says something that is needed."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """One CamelCase word."""


def resolve(spec: ArgusTrainingJobSpec, labels: Mapping[str, str], defaults: Defaults) -> Resolved:
    """Returns what a run with this spec and these labels really uses. Raises Unresolvable."""
    return Resolved(
        image=_one_of(spec.image, defaults.image, "image", "defaults.image", "NoImage"),
        image_pull_policy=spec.image_pull_policy or defaults.image_pull_policy,
        image_pull_secrets=defaults.image_pull_secrets
        if spec.image_pull_secrets is None
        else spec.image_pull_secrets,
        queue=resolve_queue(labels, defaults),
        checkpoint_uri=_one_of(
            spec.checkpoint.uri,
            defaults.checkpoint_uri,
            "checkpoint.uri",
            "defaults.checkpoint.uri",
            "NoCheckpointUri",
        ),
        output_uri=_one_of(
            spec.output.uri,
            defaults.output_uri,
            "output.uri",
            "defaults.output.uri",
            "NoOutputUri",
        ),
        storage=_resolve_storage(spec.storage, defaults.storage),
        resources_per_node=spec.resources_per_node or defaults.resources_per_node,
        scheduling=resolve_scheduling(spec.scheduling, defaults),
    )


def _one_of(own: str | None, default: str | None, field: str, value: str, reason: str) -> str:
    if found := own or default:
        return found
    raise Unresolvable(
        reason,
        f"spec.{field} is empty and the chart has no {value}: set spec.{field} in the "
        f"ArgusTrainingJob, or {value} in the Helm values for all runs",
    )


def resolve_queue(labels: Mapping[str, str], defaults: Defaults) -> str | None:
    """Returns the queue of a run: that of its label, else the chart's."""
    return labels.get(KUEUE_QUEUE_LABEL) or defaults.queue


def resolve_scheduling(own: Scheduling, defaults: Defaults) -> Scheduling:
    """Returns the place of a run. Whole fields: an empty selector or list of its own means none."""
    selector = defaults.node_selector if own.node_selector is None else own.node_selector
    tolerations = defaults.tolerations if own.tolerations is None else own.tolerations
    # None and not empty: a status must read back as it was written.
    return own.model_copy(
        update={"node_selector": selector or None, "tolerations": tolerations or None}
    )


def _resolve_storage(own: StorageSpec, default: StorageSpec) -> StorageSpec:
    """Field by field; the two ways to identify count as one field."""
    identified = own if own.secret_ref or own.service_account_name else default
    return StorageSpec(
        endpoint=own.endpoint if own.endpoint is not None else default.endpoint,
        region=own.region if own.region is not None else default.region,
        path_style=own.path_style if own.path_style is not None else default.path_style,
        secret_ref=identified.secret_ref,
        service_account_name=identified.service_account_name,
        ca_bundle_ref=own.ca_bundle_ref or default.ca_bundle_ref,
        outage_tolerance_seconds=own.outage_tolerance_seconds
        if own.outage_tolerance_seconds is not None
        else default.outage_tolerance_seconds,
        single_writer=own.single_writer if own.single_writer is not None else default.single_writer,
    )
