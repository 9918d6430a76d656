"""Builds the Job of a run. Pure: the same run gives the same Job.

The Job is made once and never re-applied. It carries no TTL (a Job that vanished while
the operator slept would look like a lost child) and no label of the resource but the
queue's (a copied tracking label would make a Git controller prune it).
"""

from typing import Any

from argus_contract import names
from argus_contract.decimals import value_of
from argus_contract.exit_codes import FATAL, IGNORED
from argus_contract.launch import (
    Launch,
    LaunchCheckpoint,
    LaunchData,
    LaunchOutput,
    LaunchPlanning,
    LaunchStorage,
)
from argus_contract.pod_spec import PodOverrides
from argus_operator.configuration import Configuration, JsonObject
from argus_operator.decision import CreateJob
from argus_operator.pod import build_pod
from argus_operator.views import RunView


def build_job(run: RunView, create: CreateJob, configuration: Configuration) -> JsonObject:
    """Returns the Job as JSON for the API server."""
    labels = {
        names.LABEL_RUN_NAME: run.key.name,
        names.LABEL_RUN_KEY: create.run_key,
        names.LABEL_COMPONENT: names.COMPONENT_PLANNER
        if create.planning
        else names.COMPONENT_TRAINER,
    }
    queue = {names.KUEUE_QUEUE_LABEL: create.resolved.queue} if create.resolved.queue else {}
    overrides = create.spec.pod_overrides or PodOverrides()
    metadata: JsonObject = {"labels": {**overrides.labels, **labels}}
    if overrides.annotations:
        metadata["annotations"] = overrides.annotations
    launch = _launch(run, create).model_dump_json(by_alias=True, exclude_none=True)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": create.name,
            "namespace": run.key.namespace,
            "labels": {**labels, **_priority(run), **queue},
            "ownerReferences": [_owner(run)],
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": create.spec.backoff_limit,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": _pod_failure_policy(),
            "template": {
                "metadata": metadata,
                "spec": build_pod(create, configuration, launch),
            },
        },
    }


def _priority(run: RunView) -> JsonObject:
    """The queue is the resolved one: of a label that was not accepted a Job must not wait."""
    return {k: v for k, v in run.labels.items() if k != names.KUEUE_QUEUE_LABEL}


def _owner(run: RunView) -> JsonObject:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": run.key.name,
        "uid": run.uid,
        "controller": True,
        # True would need the right to update finalizers of the owner.
        "blockOwnerDeletion": False,
    }


def _pod_failure_policy() -> JsonObject:
    """Disruptions and honoured signals cost no retry; what no retry can mend ends the Job."""
    return {
        "rules": [
            {
                "action": "Ignore",
                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            },
            {"action": "Ignore", "onExitCodes": _exit_codes(sorted(IGNORED))},
            {"action": "FailJob", "onExitCodes": _exit_codes(sorted(FATAL))},
        ]
    }


def _exit_codes(codes: list[Any]) -> JsonObject:
    return {
        "containerName": names.TRAINER_CONTAINER,
        "operator": "In",
        "values": [int(code) for code in codes],
    }


def _launch(run: RunView, create: CreateJob) -> Launch:
    spec, resolved = create.spec, create.resolved
    tolerance = resolved.storage.outage_tolerance_seconds
    storage = LaunchStorage(
        endpoint=resolved.storage.endpoint,
        region=resolved.storage.region,
        path_style=bool(resolved.storage.path_style),
        single_writer=bool(resolved.storage.single_writer),
        credentials_directory=names.CREDENTIALS_DIRECTORY if resolved.storage.secret_ref else None,
        ca_bundle=f"{names.CA_BUNDLE_DIRECTORY}/{names.CA_BUNDLE_FILE}"
        if resolved.storage.ca_bundle_ref
        else None,
    )
    if tolerance is not None:
        storage = storage.model_copy(update={"outage_tolerance_seconds": tolerance})
    return Launch(
        namespace=run.key.namespace,
        name=run.key.name,
        run_key=create.run_key,
        image=resolved.image,
        data=LaunchData.model_validate(spec.data.model_dump(exclude={"validation"})),
        model=spec.model,
        training=spec.training,
        storage=storage,
        checkpoint=LaunchCheckpoint(
            uri=resolved.checkpoint_uri,
            every_chunks=spec.checkpoint.every_chunks,
            period_seconds=spec.checkpoint.period_seconds,
            keep_last=spec.checkpoint.keep_last,
            resume_policy=spec.checkpoint.resume_policy,
        ),
        output=LaunchOutput(
            uri=resolved.output_uri,
            existing_bundle_policy=spec.output.existing_bundle_policy,
        ),
        gpus=resolved.resources_per_node.num_gpus(),
        progress_deadline_seconds=spec.progress_deadline_seconds,
        planning=_planning(create) if create.planning else None,
    )


def _planning(create: CreateJob) -> LaunchPlanning:
    memory = create.resolved.resources_per_node.limits.get("memory")
    return LaunchPlanning(
        validation=create.spec.data.validation,
        # Kubernetes takes 0 for no limit.
        memory_limit_bytes=(int(value_of(memory)) or None) if memory is not None else None,
    )
