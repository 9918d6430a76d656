"""Builds the pod of a trainer, or of one that only plans. Pure.

A pod that plans is its run's in all but what it takes: resources and nodes are those of the
chart, for a GPU and the nodes that have one are what it must not ask for.

What a run may add (`spec.podOverrides`) and what the chart adds to every pod stands beside
what Argus needs; the hardening of the container is nobody's to change.
"""

from argus_contract import names
from argus_contract.pod_spec import PodOverrides, PodSecurity, Scheduling
from argus_contract.spec import StorageSpec
from argus_contract.status import Resolved
from argus_operator.configuration import Configuration, JsonObject
from argus_operator.decision import CreateJob

_USER = 65532
"""The user of the trainer image (see Dockerfile.trainer)."""
_SECRET_VOLUME = f"{names.OWN_VOLUME_PREFIX}storage"
_CA_VOLUME = f"{names.OWN_VOLUME_PREFIX}ca"
_SCRATCH_VOLUME = f"{names.OWN_VOLUME_PREFIX}scratch"


def build_pod(create: CreateJob, configuration: Configuration, launch: str) -> JsonObject:
    """Returns the pod's spec; `launch` is the JSON that its trainer is told."""
    spec, resolved = create.spec, create.resolved
    overrides = spec.pod_overrides or PodOverrides()
    trainer, planning = configuration.trainer, configuration.planning
    resources, scheduling = resolved.resources_per_node, resolved.scheduling
    if create.planning:
        resources = planning.resources
        scheduling = Scheduling(
            node_selector=planning.node_selector or None,
            tolerations=scheduling.tolerations,
            priority_class_name=scheduling.priority_class_name,
        )
    volumes, mounts = _volumes(resolved.storage)
    container: JsonObject = {
        "name": names.TRAINER_CONTAINER,
        "image": resolved.image,
        "env": _environment(launch, overrides),
        "ports": [{"name": "progress", "containerPort": names.PROGRESS_PORT}],
        "resources": resources.to_wire(),
        "terminationMessagePath": names.TERMINATION_PATH,
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *mounts,
            *trainer.extra_volume_mounts,
            *(mount.to_wire() for mount in overrides.volume_mounts),
        ],
    }
    if create.planning:
        container["args"] = [names.PLAN_ONLY]
    if resolved.image_pull_policy:
        container["imagePullPolicy"] = resolved.image_pull_policy.value
    if overrides.env_from:
        container["envFrom"] = [source.to_wire() for source in overrides.env_from]
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
        "securityContext": _security(overrides.security_context),
        "containers": [container],
        "volumes": [
            *volumes,
            *trainer.extra_volumes,
            *(volume.to_wire() for volume in overrides.volumes),
        ],
        **_placement(resolved, scheduling),
    }


def _placement(resolved: Resolved, scheduling: Scheduling) -> JsonObject:
    """Returns where the pod may run and as whom; what nobody asked for is left out."""
    placement: JsonObject = {
        "serviceAccountName": resolved.storage.service_account_name,
        "imagePullSecrets": [secret.to_wire() for secret in resolved.image_pull_secrets],
        **scheduling.to_wire(),
    }
    return {name: value for name, value in placement.items() if value}


def _security(own: PodSecurity) -> JsonObject:
    defaults: JsonObject = {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    chosen = {name: value for name, value in own.to_wire().items() if value != []}
    return {**defaults, **chosen}


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


def _environment(launch: str, overrides: PodOverrides) -> list[JsonObject]:
    """Returns our variables, then the run's own; of two of a name the run's counts."""
    own: list[JsonObject] = [
        # Kubernetes expands $(NAME) in a value; $$ keeps a dollar sign of the launch as it is.
        {"name": names.ENV_LAUNCH, "value": launch.replace("$", "$$")},
        {"name": names.ENV_POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": names.ENV_NODE_NAME, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        # The root file system is read-only: caches of libraries go to the scratch volume.
        {"name": "HOME", "value": "/tmp"},
    ]
    given = {entry.name for entry in overrides.env}
    kept = [entry for entry in own if entry["name"] not in given]
    return [*kept, *(entry.to_wire() for entry in overrides.env)]
