"""The part of a run's spec that the cluster acts on: where its pods run, and what is added to them.

Deep Kubernetes types (affinity, the source of a volume) are handed on as they are: the API
server itself checks them when it takes the Job, and its words then stand in the condition
Accepted. Everything else is closed, so that `kubectl explain` and the API server know it.
"""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from argus_contract.model import Model
from argus_contract.names import OWN_DOMAINS, OWN_ENV_PREFIX, OWN_VOLUME_PREFIX

VOLUME_SOURCES = ("configMap", "secret", "emptyDir", "persistentVolumeClaim")
ENV_SOURCES = ("secretKeyRef", "configMapKeyRef", "fieldRef")

MAX_FREE_LEVELS, MAX_FREE_BYTES = 32, 16 * 1024


def _is_small(part: dict[str, Any]) -> dict[str, Any]:
    """The API server takes it in any size; it is copied into status and Job."""
    values: list[Any] = [part]
    for _ in range(MAX_FREE_LEVELS):
        values = [inner for value in values for inner in _held_by(value)]
    if values:
        raise ValueError(f"is nested deeper than {MAX_FREE_LEVELS} levels, as no part of a pod is")
    if (size := len(json.dumps(part))) > MAX_FREE_BYTES:
        raise ValueError(f"has {size} bytes: use at most {MAX_FREE_BYTES}")
    return part


def _held_by(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


FreeForm = Annotated[
    dict[str, Any],
    AfterValidator(_is_small),
    Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
]
"""A piece of a pod in Kubernetes' own words, handed on without a look into it."""

ObjectName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", min_length=1, max_length=253),
]
"""Name of an object in the cluster."""
VolumeName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]
EnvName = Annotated[
    str, StringConstraints(pattern=r"^[-._A-Za-z][-._A-Za-z0-9]*$", min_length=1, max_length=253)
]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$", max_length=63)
]
UserId = Annotated[int, Field(ge=1, le=2**31 - 1)]
GroupId = Annotated[int, Field(ge=0, le=2**31 - 1)]


def _map_by(*keys: str) -> dict[str, Any]:
    """Returns the marks of a list whose entries are told apart by these fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def _no_twins(what: str, names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"{what} {twins[0]} is given twice: keep one")


class ImagePullPolicy(StrEnum):
    """When a node asks the registry for the image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class PullSecret(Model):
    """A Secret with the keys of a registry."""

    name: ObjectName
    """Name of a Secret of type kubernetes.io/dockerconfigjson in the run's own namespace."""


PullSecrets = Annotated[
    tuple[PullSecret, ...], Field(max_length=16, json_schema_extra=_map_by("name"))
]


class TolerationOperator(StrEnum):
    """How a toleration looks at the value of a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """A taint of nodes that does not keep the trainer away."""

    key: Annotated[str | None, StringConstraints(max_length=317)] = None
    """Key of the taint. Default: all taints, which needs operator Exists.
    Example: nvidia.com/gpu."""
    operator: TolerationOperator | None = None
    """Exists takes any value of the taint, Equal only this value. Default Equal."""
    value: LabelValue | None = None
    """Value of the taint, with operator Equal. Example: reserved."""
    effect: TaintEffect | None = None
    """Effect of the taint. Default: all effects."""
    toleration_seconds: Annotated[int | None, Field(ge=0, le=2**31 - 1)] = None
    """How long a pod stays on a node that gets the taint while it runs, in seconds; only with
    effect NoExecute. Default: for ever. Example: 60."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Toleration":
        exists = self.operator is TolerationOperator.EXISTS
        if exists and self.value:
            raise ValueError(f"operator Exists takes no value, not {self.value!r}: remove it")
        if not self.key and not exists:
            raise ValueError("a toleration without key needs operator Exists: set one of them")
        if self.toleration_seconds is not None and self.effect is not TaintEffect.NO_EXECUTE:
            raise ValueError("tolerationSeconds needs effect NoExecute: set it")
        return self


NodeSelector = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]
Tolerations = Annotated[
    tuple[Toleration, ...],
    Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]


class Scheduling(Model):
    """Where the trainer runs, and how urgently."""

    node_selector: NodeSelector | None = None
    """Labels that a node must have. Default: from the chart; {} for none.
    Example: {accelerator: h100}."""
    tolerations: Tolerations | None = None
    """Taints of nodes that do not keep the trainer away. Default: from the chart; [] for none.
    Example: [{key: nvidia.com/gpu, operator: Exists}]."""
    affinity: FreeForm | None = None
    """Rules about nodes and other pods, as `spec.affinity` of a pod. Default: none.
    See `kubectl explain pod.spec.affinity`."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pod: whom it may preempt, and who may preempt it. Default: the
    cluster's. Example: batch-low."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass that runs the pod. Default: the cluster's. Example: nvidia."""


class KeyReference(Model):
    """One key of a Secret or ConfigMap in the run's own namespace."""

    name: ObjectName
    """Name of the object."""
    key: Annotated[
        str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)
    ]
    """Its key. Example: token."""
    optional: bool = False
    """True starts the pod even if the key is missing. Default false: it waits."""


class FieldReference(Model):
    """A field of the pod itself."""

    field_path: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Path of the field. Example: metadata.uid."""


class EnvSource(Model):
    """Where the value of a variable comes from; exactly one."""

    secret_key_ref: KeyReference | None = None
    """One key of a Secret."""
    config_map_key_ref: KeyReference | None = None
    """One key of a ConfigMap."""
    field_ref: FieldReference | None = None
    """A field of the pod."""

    @model_validator(mode="after")
    def _is_one(self) -> "EnvSource":
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError(f"valueFrom takes exactly one of {', '.join(ENV_SOURCES)}: keep one")
        return self


class EnvVariable(Model):
    """One environment variable of the trainer."""

    name: EnvName
    """Name; those that begin with ARGUS_ belong to Argus. Example: OMP_NUM_THREADS."""
    value: Annotated[str | None, StringConstraints(max_length=4096)] = None
    """Its text. Not together with valueFrom. Default: empty. Example: "4"."""
    value_from: EnvSource | None = None
    """Where its value comes from instead."""

    @model_validator(mode="after")
    def _is_free(self) -> "EnvVariable":
        if self.name.startswith(OWN_ENV_PREFIX):
            raise ValueError(
                f"env {self.name} begins with {OWN_ENV_PREFIX}, which belongs to Argus: use "
                "another name"
            )
        if self.value is not None and self.value_from is not None:
            raise ValueError(f"env {self.name} has value and valueFrom: keep one")
        return self


class ObjectReference(Model):
    """A Secret or ConfigMap in the run's own namespace."""

    name: ObjectName
    """Name of the object."""
    optional: bool = False
    """True starts the pod even if the object is missing. Default false: it waits."""


class EnvFrom(Model):
    """All keys of one object as environment variables; what Argus sets itself goes before."""

    prefix: Annotated[str, StringConstraints(pattern=r"^[-._A-Za-z0-9]*$", max_length=253)] = ""
    """Text before each name; ARGUS_ belongs to Argus. Default "". Example: APP_."""
    config_map_ref: ObjectReference | None = None
    """A ConfigMap. Not together with secretRef."""
    secret_ref: ObjectReference | None = None
    """A Secret. Not together with configMapRef."""

    @model_validator(mode="after")
    def _is_one(self) -> "EnvFrom":
        if (self.config_map_ref is None) == (self.secret_ref is None):
            raise ValueError("envFrom takes exactly one of configMapRef and secretRef: keep one")
        if self.prefix.startswith(OWN_ENV_PREFIX):
            raise ValueError(f"prefix {self.prefix} belongs to Argus: use another one")
        return self


class Volume(Model):
    """A volume of the pod: exactly one of four kinds. A node's own folders are not among them."""

    name: VolumeName
    """Name that volumeMounts use; those that begin with argus- belong to Argus.
    Example: vocabulary."""
    config_map: FreeForm | None = None
    """As in a pod. Example: {name: vocabulary}."""
    secret: FreeForm | None = None
    """As in a pod. Example: {secretName: token}."""
    empty_dir: FreeForm | None = None
    """As in a pod. Example: {medium: Memory, sizeLimit: 2Gi}."""
    persistent_volume_claim: FreeForm | None = None
    """As in a pod. Example: {claimName: cache}."""

    @model_validator(mode="after")
    def _is_one(self) -> "Volume":
        if self.name.startswith(OWN_VOLUME_PREFIX):
            raise ValueError(
                f"volume {self.name} begins with {OWN_VOLUME_PREFIX}, which belongs to Argus: use "
                "another name"
            )
        if len(self.model_dump(exclude_none=True)) != 2:
            raise ValueError(
                f"volume {self.name} takes exactly one of {', '.join(VOLUME_SOURCES)}: keep one"
            )
        return self


class VolumeMount(Model):
    """Where a volume of podOverrides appears in the trainer."""

    name: VolumeName
    """Name of the volume. Example: vocabulary."""
    mount_path: Annotated[
        str, StringConstraints(pattern=r"^/[^:]*$", min_length=2, max_length=1024)
    ]
    """Folder in the container. Example: /opt/vocabulary."""
    sub_path: Annotated[str | None, StringConstraints(pattern=r"^[^/].*$", max_length=1024)] = None
    """Path inside the volume. Default: all of it."""
    read_only: bool = False
    """True refuses writes. Default false."""


class SeccompType(StrEnum):
    """Which seccomp profile is used."""

    RUNTIME_DEFAULT = "RuntimeDefault"
    LOCALHOST = "Localhost"


class SeccompProfile(Model):
    """System calls that the trainer may use."""

    type: SeccompType
    """RuntimeDefault is the runtime's own profile, Localhost a file on the node."""
    localhost_profile: Annotated[str | None, StringConstraints(max_length=1024)] = None
    """The file, with type Localhost. Example: profiles/trainer.json."""

    @model_validator(mode="after")
    def _names_its_file(self) -> "SeccompProfile":
        if (self.type is SeccompType.LOCALHOST) == (self.localhost_profile is None):
            raise ValueError("localhostProfile goes with type Localhost: set both, or neither")
        return self


class PodSecurity(Model):
    """Ids that the trainer runs as; it never runs as root."""

    run_as_user: UserId | None = None
    """User id, above 0. Default 65532."""
    run_as_group: GroupId | None = None
    """Group id. Default 65532."""
    supplemental_groups: Annotated[
        tuple[GroupId, ...],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ()
    """Further group ids. Default: none."""
    fs_group: GroupId | None = None
    """Group that owns the volumes. Default 65532."""
    seccomp_profile: SeccompProfile | None = None
    """System calls that it may use. Default RuntimeDefault."""


def _free_of_own_keys(keys: dict[str, str]) -> dict[str, str]:
    for key in keys:
        if key.startswith(OWN_DOMAINS):
            raise ValueError(
                f"{key} belongs to Argus or Kueue: remove it (the queue is a label of the "
                "ArgusTrainingJob itself)"
            )
    return keys


class PodOverrides(Model):
    """What is added to the trainer's pod; the rest of it belongs to Argus."""

    labels: Annotated[
        dict[LabelKey, LabelValue],
        Field(default_factory=dict, max_length=32),
        AfterValidator(_free_of_own_keys),
    ]
    """Labels of the pod; none of Argus or Kueue. Example: {team: forecasting}."""
    annotations: Annotated[
        dict[LabelKey, Annotated[str, StringConstraints(max_length=4096)]],
        Field(default_factory=dict, max_length=32),
        AfterValidator(_free_of_own_keys),
    ]
    """Annotations of the pod; none of Argus or Kueue.
    Example: {sidecar.istio.io/inject: "false"}."""
    env: Annotated[
        tuple[EnvVariable, ...], Field(max_length=64, json_schema_extra=_map_by("name"))
    ] = ()
    """Environment variables of the trainer. Default: none."""
    env_from: Annotated[
        tuple[EnvFrom, ...],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = ()
    """Environment variables from all keys of Secrets and ConfigMaps. Default: none."""
    volumes: Annotated[
        tuple[Volume, ...], Field(max_length=32, json_schema_extra=_map_by("name"))
    ] = ()
    """Volumes of the pod. Default: none."""
    volume_mounts: Annotated[
        tuple[VolumeMount, ...], Field(max_length=32, json_schema_extra=_map_by("mountPath"))
    ] = ()
    """Where these volumes appear in the trainer. Default: nowhere."""
    security_context: PodSecurity = PodSecurity()
    """Ids that the trainer runs as."""

    @model_validator(mode="after")
    def _fits_together(self) -> "PodOverrides":
        _no_twins("env", [entry.name for entry in self.env])
        _no_twins("volume", [entry.name for entry in self.volumes])
        _no_twins("mountPath", [entry.mount_path for entry in self.volume_mounts])
        known = {volume.name for volume in self.volumes}
        for mount in self.volume_mounts:
            if mount.name not in known:
                raise ValueError(
                    f"volumeMounts: {mount.name} is no volume of podOverrides: add it to volumes"
                )
        return self
