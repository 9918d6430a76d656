"""Builds the Job of a run. Pure: the same run gives the same Job.

The Job is made once and never re-applied. It carries no TTL (a Job that vanished while
the operator slept would look like a lost child) and no label of the resource but the
queue's (a copied tracking label would make a Git controller prune it).
"""

from typing import Any

from argus_contract import names
from argus_contract.exit_codes import FATAL, IGNORED
from argus_contract.launch import (
    Launch,
    LaunchCheckpoint,
    LaunchData,
    LaunchOutput,
    LaunchStorage,
)
from argus_contract.spec import ResourceRequirements, StorageSpec
from argus_operator.configuration import Configuration, JsonObject
from argus_operator.decision import CreateJob
from argus_operator.views import RunView

_USER = 65532
"""The user of the trainer image (see Dockerfile.trainer)."""
_SECRET_VOLUME = "argus-storage"
_CA_VOLUME = "argus-ca"
_SCRATCH_VOLUME = "argus-scratch"


def count_gpus(resources: ResourceRequirements) -> int:
    """Returns how many GPUs a pod with these resources gets, of any vendor."""
    asked = {**resources.requests, **resources.limits}
    return sum(
        int(amount)
        for name, amount in asked.items()
        if (name.endswith("/gpu") or "/mig-" in name) and amount.isdigit()
    )


def build_job(run: RunView, create: CreateJob, configuration: Configuration) -> JsonObject:
    """Returns the Job as JSON for the API server."""
    labels = {
        names.LABEL_RUN_NAME: run.key.name,
        names.LABEL_RUN_KEY: create.run_key,
        names.LABEL_COMPONENT: names.COMPONENT_TRAINER,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": create.name,
            "namespace": run.key.namespace,
            "labels": {**labels, **run.labels},
            "ownerReferences": [_owner(run)],
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": create.spec.backoff_limit,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": _pod_failure_policy(),
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(run, create, configuration),
            },
        },
    }


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


def _pod(run: RunView, create: CreateJob, configuration: Configuration) -> JsonObject:
    storage, trainer = create.resolved.storage, configuration.trainer
    volumes, mounts = _volumes(storage)
    pod: JsonObject = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": create.spec.termination_grace_period_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": names.TRAINER_CONTAINER,
                "image": create.resolved.image,
                "env": _environment(run, create),
                "ports": [{"name": "progress", "containerPort": names.PROGRESS_PORT}],
                "resources": create.resolved.resources_per_node.to_wire(),
                "terminationMessagePath": names.TERMINATION_PATH,
                "terminationMessagePolicy": "File",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [*mounts, *trainer.extra_volume_mounts],
            }
        ],
        "volumes": [*volumes, *trainer.extra_volumes],
    }
    if storage.service_account_name:
        pod["serviceAccountName"] = storage.service_account_name
    if trainer.node_selector:
        pod["nodeSelector"] = trainer.node_selector
    if trainer.tolerations:
        pod["tolerations"] = list(trainer.tolerations)
    return pod


def _volumes(storage: StorageSpec) -> tuple[list[JsonObject], list[JsonObject]]:
    """Returns (volumes, mounts): scratch, the access keys, the certificates.

    Nothing is optional: the kubelet names what is missing and waits until it is there.
    """
    volumes: list[JsonObject] = [{"name": _SCRATCH_VOLUME, "emptyDir": {}}]
    mounts: list[JsonObject] = [{"name": _SCRATCH_VOLUME, "mountPath": "/tmp"}]
    if storage.secret_ref:
        secret = {
            "secretName": storage.secret_ref.name,
            "optional": False,
            "defaultMode": 0o440,
        }
        volumes.append({"name": _SECRET_VOLUME, "secret": secret})
        mounts.append(
            {"name": _SECRET_VOLUME, "mountPath": names.CREDENTIALS_DIRECTORY, "readOnly": True}
        )
    if storage.ca_bundle_ref:
        config_map = {
            "name": storage.ca_bundle_ref.name,
            "optional": False,
            "defaultMode": 0o444,
            "items": [{"key": storage.ca_bundle_ref.key, "path": names.CA_BUNDLE_FILE}],
        }
        volumes.append({"name": _CA_VOLUME, "configMap": config_map})
        mounts.append(
            {"name": _CA_VOLUME, "mountPath": names.CA_BUNDLE_DIRECTORY, "readOnly": True}
        )
    return volumes, mounts


def _environment(run: RunView, create: CreateJob) -> list[JsonObject]:
    launch = _launch(run, create).model_dump_json(by_alias=True, exclude_none=True)
    return [
        # Kubernetes expands $(NAME) in a value; $$ keeps a dollar sign of the launch as it is.
        {"name": names.ENV_LAUNCH, "value": launch.replace("$", "$$")},
        {"name": names.ENV_POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": names.ENV_NODE_NAME, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        # The root file system is read-only: caches of libraries go to the scratch volume.
        {"name": "HOME", "value": "/tmp"},
    ]


def _launch(run: RunView, create: CreateJob) -> Launch:
    spec, resolved = create.spec, create.resolved
    tolerance = resolved.storage.outage_tolerance_seconds
    storage = LaunchStorage(
        endpoint=resolved.storage.endpoint,
        region=resolved.storage.region,
        path_style=bool(resolved.storage.path_style),
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
        data=LaunchData.model_validate(spec.data.model_dump()),
        model=spec.model,
        training=spec.training,
        storage=storage,
        checkpoint=LaunchCheckpoint(
            uri=resolved.checkpoint_uri,
            every_chunks=spec.checkpoint.every_chunks,
            period_seconds=spec.checkpoint.period_seconds,
        ),
        output=LaunchOutput(
            uri=resolved.output_uri,
            existing_bundle_policy=spec.output.existing_bundle_policy,
        ),
        gpus=count_gpus(resolved.resources_per_node),
    )
