"""What the chart tells the operator: one file, read once at start.

`defaults` fill what a run leaves open; the operator writes what it used into
`status.resolved`.
"""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from argus_contract.model import Model
from argus_contract.pod_spec import ImagePullPolicy, NodeSelector, PullSecrets, Tolerations
from argus_contract.spec import ObjectUri, ResourceRequirements, StorageSpec, refuse_several_gpus

JsonObject = dict[str, Any]
"""A piece of a pod that the operator hands on without looking into it."""


class ConfigurationError(Exception):
    """The configuration file cannot be used; the message names the field and the file."""


class Defaults(Model):
    """Filled in where a run says nothing."""

    image: str | None = None
    image_pull_policy: ImagePullPolicy | None = None
    image_pull_secrets: PullSecrets = ()
    checkpoint_uri: ObjectUri | None = None
    output_uri: ObjectUri | None = None
    storage: StorageSpec = StorageSpec()
    resources_per_node: Annotated[ResourceRequirements, AfterValidator(refuse_several_gpus)] = (
        ResourceRequirements()
    )
    node_selector: NodeSelector | None = None
    tolerations: Tolerations | None = None
    queue: str | None = None
    """Kueue queue of runs without the label; only where Kueue runs."""


class TrainerPods(Model):
    """Added to every trainer pod of this cluster, and to the pods that plan."""

    extra_volumes: tuple[JsonObject, ...] = ()
    extra_volume_mounts: tuple[JsonObject, ...] = ()


class PlanningPods(Model):
    """The pods that plan runs, on a CPU."""

    resources: ResourceRequirements = ResourceRequirements(
        requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "2Gi"}
    )
    node_selector: NodeSelector = Field(default_factory=dict)
    """Labels of the nodes that they run on; the place of a run is its trainer's."""


class Installation(Model):
    """Which installation of the chart this is: where its Leases are, and how they are called."""

    namespace: Annotated[str, Field(min_length=1, max_length=63)] = "argus-system"
    name: Annotated[str, Field(min_length=1, max_length=63)] = "argus-operator"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Configuration(Model):
    """The whole file."""

    installation: Installation = Installation()

    cluster_name: Annotated[str, Field(min_length=1, max_length=253)]
    """Part of every run's identity: two clusters never share checkpoints."""
    watch_namespaces: tuple[str, ...] = ()
    """Empty: all namespaces."""
    kueue_enabled: bool = False
    progress_interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 15
    """Seconds between two looks at the progress of a run, if fewer than 10 x this many run."""
    defaults: Defaults = Defaults()
    trainer: TrainerPods = TrainerPods()
    planning: PlanningPods = PlanningPods()

    @model_validator(mode="after")
    def _queue_exists(self) -> "Configuration":
        if self.defaults.queue and not self.kueue_enabled:
            raise ValueError(
                f"defaults.queue {self.defaults.queue} needs Kueue: set kueue.enabled=true in the "
                "Helm values, or remove defaults.queue"
            )
        return self


def read_configuration(path: Path) -> Configuration:
    """Reads the chart's YAML (or JSON) file. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"ARGUS_CONFIG names {path}, which cannot be read ({error}): mount the "
            "chart's ConfigMap"
        ) from error
    try:
        return Configuration.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(
            f"{path} is not a configuration of the operator: {error}"
        ) from error
