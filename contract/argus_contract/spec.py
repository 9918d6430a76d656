"""The spec of ArgusTrainingJob: what a user may ask for.

The CRD is rendered from these models (`crd.py`). A field is here only once it does
what it says. No floats: rates are decimal strings, durations are seconds.
Fields without a default of their own are filled from the chart's `defaults`; what was
used stands in `status.resolved`.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from argus_contract.data_spec import DataRules, ValidationSpec
from argus_contract.decimals import DecimalString, Quantity, value_of
from argus_contract.model import Model
from argus_contract.pod_spec import ImagePullPolicy, PodOverrides, PullSecrets, Scheduling

ObjectUri = Annotated[
    str,
    StringConstraints(
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?$", max_length=1024
    ),
]
"""`s3://bucket/prefix`."""

DataUri = Annotated[
    str,
    StringConstraints(
        pattern=r"^(s3|gs|az|abfs|abfss)://[a-z0-9][a-z0-9._@-]{1,250}[a-z0-9](/[^?#]*)?$",
        max_length=1024,
    ),
]
"""Address of data, which is only read: also stores that fsspec knows and Argus never writes to."""

DEFAULT_TARGETS = (
    "cpu_user_pct",
    "cpu_iowait_pct",
    "mem_used_pct",
    "swap_used_pct",
    "load_average",
)


class DataSpec(DataRules):
    """Which recorded metrics to learn from."""

    uri: DataUri
    """Dataset to train on, as `s3://bucket/prefix`, `gs://` or `az://`. The prefix holds Parquet
    chunks and, if it was made by `argus generate` or `argus import`, a `chunk_manifest.json`.
    Example: s3://metrics/edge-eu."""
    validation: ValidationSpec = ValidationSpec()
    """What the training part of the data must be like before a GPU is asked for. No part of the
    run's identity."""


class TargetSpec(Model):
    """One metric that the model predicts."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63)]
    """Column of the dataset. Example: cpu_user_pct."""
    weight: DecimalString = "1"
    """Share of this target in the loss, relative to the others; a decimal string. Default "1"."""

    @model_validator(mode="after")
    def _weight_counts(self) -> "TargetSpec":
        if Decimal(self.weight) <= 0:
            raise ValueError(f"weight of target {self.name} is {self.weight}: use a number above 0")
        return self


class ModelSpec(Model):
    """Shape of the Temporal Fusion Transformer."""

    encoder_length: Annotated[int, Field(ge=1, le=8192)] = 288
    """Past steps that the model sees, in steps of the data's cadence. Default 288 (24 hours at
    5 minutes)."""
    prediction_length: Annotated[int, Field(ge=1, le=4096)] = 96
    """Future steps that the model predicts. Default 96 (8 hours at 5 minutes)."""
    hidden_size: Annotated[int, Field(ge=1, le=4096)] = 128
    """Width of the network. Default 128."""
    attention_heads: Annotated[int, Field(ge=1, le=64)] = 8
    """Heads of the temporal self-attention; must divide hiddenSize. Default 8."""
    hidden_continuous_size: Annotated[int, Field(ge=1, le=1024)] = 64
    """Width of the processing of one continuous variable. Default 64."""
    dropout: DecimalString = "0.2"
    """Dropout probability as a decimal string, at least 0 and below 1. Default "0.2"."""
    targets: Annotated[
        tuple[TargetSpec, ...],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = tuple(TargetSpec(name=name) for name in DEFAULT_TARGETS)
    """Metrics to predict. Default: cpu_user_pct, cpu_iowait_pct, mem_used_pct, swap_used_pct and
    load_average. A target that the data does not have ends the run with exit 65."""

    @model_validator(mode="after")
    def _shape_fits(self) -> "ModelSpec":
        if self.hidden_size % self.attention_heads:
            raise ValueError(
                f"hiddenSize {self.hidden_size} is not a multiple of attentionHeads "
                f"{self.attention_heads}: choose for example hiddenSize "
                f"{self.attention_heads * max(1, self.hidden_size // self.attention_heads)}"
            )
        if Decimal(self.dropout) >= 1:
            raise ValueError(f"dropout {self.dropout} must be below 1")
        return self


class TrainingMode(StrEnum):
    """What stays in memory; the model is the same to the bit."""

    STREAMING = "Streaming"
    """What memoryBudget allows."""
    STANDARD = "Standard"
    """Everything."""


class TrainingSpec(Model):
    """How to train."""

    mode: TrainingMode = TrainingMode.STREAMING
    """Streaming keeps in memory what memoryBudget allows, Standard all of the data. The model is
    the same. Default Streaming."""
    memory_budget: Quantity | None = None
    """Memory for blocks of data, those read ahead and the bytes on their way, with Streaming.
    Default: half of the container's memory limit. Less than the plan needs is refused with the
    least value. Example: 4Gi."""
    window_stride: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Uses only each n-th window of a server in training. Default 1: all."""
    windows_per_epoch: Annotated[int | None, Field(ge=1, le=1_000_000_000_000)] = None
    """Ends an epoch after this many windows; the next one draws others. Default: all windows."""
    deterministic: bool = False
    """True uses only algorithms that give the same bits each time on a GPU, which are slower; on
    a CPU it always holds. Default false."""
    epochs: Annotated[int, Field(ge=1, le=10000)] = 20
    """Most passes over all training windows; training ends before when 8 validations in a row
    bring no better loss. Default 20."""
    max_steps: Annotated[int | None, Field(ge=1, le=1_000_000_000)] = None
    """Ends training after this many optimizer steps, even inside an epoch. Default: no limit."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    """Windows in one optimizer step. Default 128."""
    learning_rate: DecimalString = "0.01"
    """Initial learning rate as a decimal string; it is lowered on plateaus. Default "0.01"."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42
    """Seed of weights, order and dropout: the same seed gives the same run. Default 42."""

    @model_validator(mode="after")
    def _budget_counts(self) -> "TrainingSpec":
        if self.memory_budget is None:
            return self
        if self.mode is TrainingMode.STANDARD:
            raise ValueError(
                f"memoryBudget {self.memory_budget} means nothing with mode Standard, which keeps "
                "everything: remove it, or use Streaming"
            )
        if value_of(self.memory_budget) < 1:
            raise ValueError(f"memoryBudget {self.memory_budget} must be above 0, for example 1Gi")
        return self

    @model_validator(mode="after")
    def _rate_counts(self) -> "TrainingSpec":
        if Decimal(self.learning_rate) <= 0:
            raise ValueError(f"learningRate {self.learning_rate} must be above 0")
        return self


GPU_SUFFIXES, GPU_SLICE = ("/gpu", "/gpu.shared"), "/mig-"
"""Resources of these names are GPUs, or shares or slices of one."""


class ResourceRequirements(Model):
    """Compute resources of the trainer's container, as in a pod."""

    limits: Annotated[dict[str, Quantity], Field(default_factory=dict, max_length=16)]
    """Upper bounds by resource name. Example: nvidia.com/gpu: 1, memory: 16Gi."""
    requests: Annotated[dict[str, Quantity], Field(default_factory=dict, max_length=16)]
    """What the scheduler reserves by resource name. Example: cpu: 4, memory: 16Gi."""

    def num_gpus(self) -> int:
        """Returns how many GPUs a pod with these resources gets, of any vendor."""
        asked = {**self.requests, **self.limits}
        return sum(
            int(value_of(amount))
            for name, amount in asked.items()
            if name.endswith(GPU_SUFFIXES) or GPU_SLICE in name
        )


def refuse_several_gpus(resources: ResourceRequirements | None) -> ResourceRequirements | None:
    """Raises ValueError for more GPUs than one trainer uses."""
    if resources and resources.num_gpus() > 1:
        raise ValueError(
            f"resourcesPerNode asks for {resources.num_gpus()} GPUs: a run trains on one, ask for 1"
        )
    return resources


class SecretReference(Model):
    """A Secret in the run's own namespace."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Name of the Secret. Keys: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if temporary,
    AWS_SESSION_TOKEN. The operator never reads it; the pod mounts it."""


class CaBundleReference(Model):
    """Certificates in a ConfigMap of the run's own namespace."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Name of the ConfigMap."""
    key: Annotated[
        str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)
    ] = "ca.crt"
    """Its key with the certificates in PEM form. Default ca.crt."""


class StorageSpec(Model):
    """How the trainer reaches the object store; absent fields come from the chart."""

    endpoint: Annotated[
        str | None, StringConstraints(pattern=r"^https?://[^ ]+$", max_length=512)
    ] = None
    """Address of an S3-compatible server. Default: that of the chart, else AWS.
    Example: http://minio.storage:9000."""
    region: Annotated[str | None, StringConstraints(max_length=63)] = None
    """Region used to sign requests. Example: eu-central-1."""
    path_style: bool | None = None
    """True puts the bucket into the path instead of the host name; most S3-compatible servers
    need it."""
    secret_ref: SecretReference | None = None
    """Secret with the access keys. Not together with serviceAccountName."""
    service_account_name: Annotated[str | None, StringConstraints(max_length=253)] = None
    """Service account whose workload identity reaches the store. Not together with secretRef."""
    ca_bundle_ref: CaBundleReference | None = None
    """Certificates that the store's own certificate is checked against. Default: those of the
    chart, else those of the image."""
    outage_tolerance_seconds: Annotated[int | None, Field(ge=0, le=86400)] = None
    """How long the store may stay away before the run gives its node back with exit 74.
    Default 600."""
    single_writer: bool | None = None
    """True promises that nothing but one trainer at a time writes to a run's prefixes, and lets
    Argus use a store that ignores conditional writes (If-None-Match), which it refuses otherwise.
    Two trainers of one run could then destroy each other's states. Default false."""

    @model_validator(mode="after")
    def _one_identity(self) -> "StorageSpec":
        if self.secret_ref and self.service_account_name:
            raise ValueError("secretRef and serviceAccountName exclude each other: keep one")
        return self


DEFAULT_KEEP_LAST = 3


class ResumePolicy(StrEnum):
    """What an attempt begins with, as long as the run has no final state yet."""

    AUTO = "Auto"
    """The newest valid state; the beginning when there is none."""
    NEVER = "Never"
    """The beginning, each time, although there may be states."""
    REQUIRE = "Require"
    """The newest valid state; without one the run fails with exit 78."""


class CheckpointSpec(Model):
    """Where and how often the training state is saved."""

    uri: ObjectUri | None = None
    """Prefix for checkpoints; each run writes below its own run key. Default: from the chart."""
    every_chunks: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    """Save when this many further chunks were consumed, if periodSeconds has not come first, and
    never so often that saving takes more than 1 % of the time. Default 5."""
    period_seconds: Annotated[int, Field(ge=1, le=86400)] = 60
    """Save when this many seconds have passed, if everyChunks has not come first, and never so
    often that saving takes more than 1 % of the time. Default 60. A change counts from the next
    Job of the run on."""
    keep_last: Annotated[int, Field(ge=1, le=100)] = DEFAULT_KEEP_LAST
    """States that are kept, newest first; each holds the best weights as well. An older one is
    removed only once the newer ones are proved readable. Default 3."""
    resume_policy: ResumePolicy = ResumePolicy.AUTO
    """Auto goes on from the newest valid state, or begins when there is none. Never begins anew
    with each pod and leaves older states aside. Require fails with exit 78 when there is no state
    to go on from. A run whose training is over is published in any case. Default Auto."""


class ExistingBundlePolicy(StrEnum):
    """What to do when this very run has already published."""

    REUSE = "Reuse"
    """Complete at once with the bundle that is there."""
    FAIL = "Fail"
    """Fail with reason AlreadyPublished."""


class OutputSpec(Model):
    """Where the finished model goes."""

    uri: ObjectUri | None = None
    """Prefix for model bundles. Default: from the chart."""
    existing_bundle_policy: ExistingBundlePolicy = ExistingBundlePolicy.REUSE
    """Reuse completes at once if this run (same name and same spec) already published; Fail
    fails it. To train again, create the run with another runToken. Default Reuse."""


class ArgusTrainingJobSpec(Model):
    """One training run: stream the data, train, checkpoint, publish a model bundle."""

    run_token: Annotated[str, StringConstraints(max_length=253)] = ""
    """Part of the run's identity: made again with another one, the same spec is trained again.
    Default ""."""
    suspend: bool = False
    """True stops the run: its Job is removed, the trainer saves and leaves, and the run stays in
    phase Suspended. False lets it go on from its last state, in a new Job made from the spec as
    it then is. A run that has ended stays as it is. Default false."""
    image: Annotated[str | None, StringConstraints(min_length=1, max_length=1024)] = None
    """Trainer image, best by digest. Default: from the chart."""
    image_pull_policy: ImagePullPolicy | None = None
    """When a node asks the registry for the image: Always, IfNotPresent or Never. Default: from
    the chart, else the cluster's (Always for the tag latest, IfNotPresent for others)."""
    image_pull_secrets: PullSecrets | None = None
    """Secrets with the keys of the registry. Default: from the chart; [] for none.
    Example: [{name: registry}]."""
    data: DataSpec
    """Which recorded metrics to learn from."""
    model: ModelSpec = ModelSpec()
    """Shape of the Temporal Fusion Transformer."""
    training: TrainingSpec = TrainingSpec()
    """How to train."""
    resources_per_node: Annotated[
        ResourceRequirements | None, AfterValidator(refuse_several_gpus)
    ] = None
    """Compute resources of the trainer, at most one GPU. One that is asked for and not visible
    ends the run with exit 78, never in a silent CPU run. May change while the run is suspended.
    Default: from the chart."""
    scheduling: Scheduling = Scheduling()
    """Where the trainer runs, and how urgently. May change while the run is suspended."""
    pod_overrides: PodOverrides | None = None
    """What is added to the trainer's pod. Default: nothing."""
    storage: StorageSpec = StorageSpec()
    """How the trainer reaches the object store."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """Where and how often the training state is saved."""
    output: OutputSpec = OutputSpec()
    """Where the finished model goes."""
    termination_grace_period_seconds: Annotated[int, Field(ge=5, le=3600)] = 120
    """Seconds between SIGTERM and SIGKILL of the trainer. Default 120."""
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=604800)] = 1800
    """Seconds without a step after which the trainer takes itself for stuck: it saves what it can
    and ends with exit 71, which counts against backoffLimit. A step is one of training or of
    validation. Never sooner than a minute after storage.outageToleranceSeconds. A change takes
    effect on the next Job of the run. Default 1800."""
    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """Crashes that are retried; preemptions never count. Each Job of the run counts anew: the one
    that plans, the one that trains, and the one that follows a suspension, an unreachable node or
    a Job that was deleted. A change takes effect on the next Job of the run. Default 3."""
    max_disruptions: Annotated[int, Field(ge=0, le=10_000)] = 50
    """Preemptions, lost nodes, suspensions and outages of the store that the run lives through; one
    more fails it, and so do five in a row between which nothing could be saved. The bucket counts
    them, also over resources of this name that were deleted. Default 50."""
    pre_running_deadline_seconds: Annotated[int | None, Field(ge=1, le=315_360_000)] = None
    """Seconds from the moment the operator first saw the run, or from the end of a suspension,
    within which a first trainer must start; waiting in a queue counts. Can only be raised or
    removed. Default: no limit. Example: 86400."""
    active_deadline_seconds: Annotated[int | None, Field(ge=1, le=315_360_000)] = None
    """Seconds from the first start of a trainer, or from the end of a suspension, after which the
    run fails; waiting for another node counts. Can only be raised or removed. Default: no limit.
    Example: 43200."""
    node_unreachable_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """Seconds that a pod may stay after it should have been gone, because its node does not
    answer; then it is deleted by force and its successor starts. Default 300."""
    ttl_seconds_after_finished: Annotated[int | None, Field(ge=0, le=315_360_000)] = None
    """Seconds after its end for which the Job and pods of the run stay, with their logs; the
    ArgusTrainingJob itself always stays. Default: as long as it stays. Example: 604800."""
