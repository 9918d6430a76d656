"""The status of ArgusTrainingJob: what people and programs are told.

Written by the operator alone. The parts that the trainer knows best (progress, metrics,
checkpoint, attempts, ...) are the same types that its `/progress` report is made of.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from argus_contract.model import Model, Time
from argus_contract.pod_spec import ImagePullPolicy, PullSecrets, Scheduling
from argus_contract.spec import ResourceRequirements, StorageSpec


class Phase(StrEnum):
    """One word for people; programs read conditions."""

    PENDING = "Pending"
    VALIDATING = "Validating"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    PREEMPTED = "Preempted"
    SUSPENDED = "Suspended"
    PUBLISHING = "Publishing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


TERMINAL_PHASES = frozenset({Phase.SUCCEEDED, Phase.FAILED})


class ConditionType(StrEnum):
    """Conditions of a run; kstatus reads Reconciling and Stalled."""

    ACCEPTED = "Accepted"
    DATA_VALIDATED = "DataValidated"
    ADMITTED = "Admitted"
    PODS_READY = "PodsReady"
    PROGRESSING = "Progressing"
    SUSPENDED = "Suspended"
    MODEL_PUBLISHED = "ModelPublished"
    COMPLETE = "Complete"
    FAILED = "Failed"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """A metav1.Condition."""

    type: ConditionType
    """Name of the condition."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=0)]
    """Generation of the spec that this was decided from."""
    last_transition_time: Time
    """When the status last changed."""
    reason: Annotated[str, Field(max_length=128)]
    """One CamelCase word for programs."""
    message: Annotated[str, Field(max_length=4096)]
    """A sentence for people."""


class Progress(Model):
    """How far the training is."""

    percentage: Annotated[int, Field(ge=0, le=100)]
    """Share of all steps that are done."""
    epoch: int
    """Current epoch, from 1."""
    max_epochs: int
    """Epochs that were asked for."""
    chunk: int
    """Chunks consumed in this epoch: the share of its windows drawn, times chunks."""
    chunks: int
    """Training chunks in an epoch."""
    step: int
    """Optimizer steps done, over all epochs."""
    max_steps: int
    """Optimizer steps at the planned end."""
    eta_seconds: int | None = None
    """Expected seconds to the end of training."""
    summary: str
    """The PROGRESS column. Example: 61% epoch 19/30."""
    samples_per_second: int | None = None
    """Windows trained per second, recent average."""
    data_wait_percent: int | None = None
    """Share of the time in which the model waited for data."""
    last_update_time: Time | None = None
    """When the trainer measured this."""


class Metric(Model):
    """One number that the training follows."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the metric: train_loss, val_loss, untrained_val_loss or learning_rate."""
    value: Annotated[str, Field(max_length=32)]
    """Newest value as a decimal string."""
    step: int
    """Optimizer step at which it was measured."""
    best: Annotated[str | None, Field(max_length=32)] = None
    """Best value so far, for metrics that have one."""


class Checkpoint(Model):
    """The newest durable state."""

    uri: str
    """Address of its manifest."""
    step: int
    """Optimizer step of the state."""
    saved_at: Time
    """When it became durable."""
    size_bytes: int
    """Size of its tensors."""
    save_seconds: Annotated[str, Field(max_length=16)]
    """How long saving took, in seconds, as a decimal string."""
    resumed_from_step: int | None = None
    """Step from which the current attempt went on; absent in a run never resumed."""


class Disruptions(Model):
    """What preemption and lost nodes have cost. Totals of the ledger in the bucket."""

    count: int
    """Attempts that ended by no fault of the training."""
    lost_seconds: int
    """Training time that had to be repeated."""
    lost_gpu_seconds: Annotated[int, Field(alias="lostGPUSeconds")]
    """lostSeconds times the GPUs asked for."""
    last_reason: str | None = None
    """Why the last one ended."""
    last_time: Time | None = None
    """When the last one ended."""


class EndReason(StrEnum):
    """Why an attempt ended."""

    COMPLETED = "Completed"
    PREEMPTED = "Preempted"
    LOST = "Lost"
    """Killed without a word; closed by its successor."""
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    STORAGE_DENIED = "StorageAccessDenied"
    DATA = "DataError"
    DIVERGED = "Diverged"
    STUCK = "Stuck"
    CONFIGURATION = "ConfigurationError"
    GPU_OUT_OF_MEMORY = "GPUOutOfMemory"
    OOM_KILLED = "OOMKilled"
    """Killed at the memory limit of its container, as its pod says."""
    SUPERSEDED = "Superseded"
    """A newer claim took the run over."""
    CRASHED = "Crashed"


DISRUPTIVE = frozenset(
    {EndReason.PREEMPTED, EndReason.LOST, EndReason.STORAGE_UNAVAILABLE, EndReason.SUPERSEDED}
)


class Attempt(Model):
    """One start of the trainer, from its claim in the bucket."""

    number: int
    """Number of the claim, from 1."""
    pod: str
    """Name of the pod."""
    node: str | None = None
    """Node that it ran on."""
    start: Time
    """When it claimed the run."""
    end: Time | None = None
    """When it ended; absent while it runs."""
    end_reason: EndReason | None = None
    """Why it ended."""
    exit_code: int | None = None
    """Exit code of the trainer; absent when nobody saw it."""
    start_step: int = 0
    """Step that it went on from."""
    end_step: int | None = None
    """Last durable step that it left."""
    lost_seconds: int | None = None
    """Training time after its last durable step."""
    message: Annotated[str | None, Field(max_length=1024)] = None
    """What it said at the end."""
    log_uri: str | None = None
    """Address of the newest MiB of its log, once it stands in the bucket."""
    tensorboard_uri: str | None = None
    """Address of its TensorBoard files, once they stand in the bucket."""


class Usage(Model):
    """What the run has cost: requested GPUs times wall time."""

    gpu_seconds: int
    """GPUs asked for times trainingSeconds. Pods held them for longer: pulling the image and
    starting come before the claim."""
    queued_seconds: int
    """Seconds from creation, or the end of a suspension, to the first start of a trainer, but for
    those of planning on a CPU."""
    training_seconds: int
    """Seconds from the claim of each attempt to its end, or to the last report of one that runs;
    of one that ended without a claim, from the start of its container."""
    lost_gpu_seconds: Annotated[int, Field(alias="lostGPUSeconds")]
    """Part of gpuSeconds that had to be repeated."""


class DataStatus(Model):
    """The data that the plan pinned."""

    window_start: Time
    """Start of the first chunk."""
    window_end: Time
    """End of the last chunk."""
    files: int
    """Objects in the manifest."""
    bytes: int
    """Their total size."""
    rows: int | None = None
    """Rows read for statistics."""
    servers: int | None = None
    """Servers in the training part."""
    manifest_digest: str
    """Digest of all pinned objects: the data version."""


class PublishedState(StrEnum):
    TRUE = "true"
    SUPERSEDED = "Superseded"
    """Recorded, but a model of newer data is the current one."""


class Artifact(Model):
    """The model bundle."""

    uri: str
    """Address of the bundle."""
    digest: str
    """SHA-256 of its MANIFEST.json."""
    files: Annotated[tuple[str, ...], Field(max_length=64)]
    """Names of its files."""
    published: PublishedState
    """true when it became the current model."""


class Lineage(Model):
    """What a model comes from."""

    exact_resume: bool
    """True as long as the model is, to the bit, that of a run that was never disturbed."""
    exact_resume_reason: Annotated[str | None, Field(max_length=1024)] = None
    """Why it is not: another CPU, version or number of threads after a resume, or changed data."""

    @classmethod
    def of(cls, inexact_reason: str | None) -> "Lineage":
        """Returns what is shown of a run that is exact, or not for that reason."""
        return cls(
            exact_resume=inexact_reason is None,
            exact_resume_reason=inexact_reason[:1024] if inexact_reason else None,
        )


class PendingSource(StrEnum):
    KUEUE = "Kueue"
    SCHEDULER = "Scheduler"
    IMAGE = "Image"
    DATA = "Data"
    """A pod on a CPU reads and judges the data."""
    QUOTA = "Quota"
    POD = "Pod"
    """Container or volume of the pod cannot start: a Secret that is missing, for example."""


class Pending(Model):
    """Why the run waits."""

    source: PendingSource
    """Who makes it wait."""
    message: Annotated[str, Field(max_length=4096)]
    """The original text of that source."""
    since: Time
    """When it began to wait for this."""


class Resolved(Model):
    """The spec after the chart's defaults: what the run really uses."""

    image: str
    """Trainer image of every attempt."""
    image_pull_policy: ImagePullPolicy | None = None
    """When a node asks the registry for it; absent: as the cluster does."""
    image_pull_secrets: PullSecrets = ()
    """Secrets with the keys of the registry."""
    queue: str | None = None
    """Kueue queue that the Job waits in."""
    checkpoint_uri: str
    """Prefix for checkpoints."""
    output_uri: str
    """Prefix for bundles."""
    storage: StorageSpec
    """How the store is reached."""
    resources_per_node: ResourceRequirements
    """Resources of the trainer."""
    scheduling: Scheduling = Scheduling()
    """Where the trainer runs."""


class Columns(Model):
    """Strings for `kubectl get`, computed by the operator."""

    eta: str | None = None
    """Example: 38m."""
    val_loss: str | None = None
    """Best validation loss. Example: 0.0831."""
    node: str | None = None
    """Node of the pod that runs or starts, a planning one too; else that of the newest attempt."""
    gpu_hours: str | None = None
    """Example: 3.5."""
    lost: str | None = None
    """Training time lost to disruptions. Example: 12s."""
    model: str | None = None
    """Name of the bundle."""


class ArgusTrainingJobStatus(Model):
    """Everything that is known about a run."""

    observed_generation: int | None = None
    """Generation of the spec that this status speaks of."""
    phase: Phase | None = None
    """One word for people; programs read conditions."""
    reason: Annotated[str | None, Field(max_length=128)] = None
    """One CamelCase word: why the run is in this phase."""
    message: Annotated[str | None, Field(max_length=4096)] = None
    """A sentence for people, with the way out where there is one."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = ()
    """State for programs; `kubectl wait --for=condition=Complete` works."""
    start_time: Time | None = None
    """When the first trainer started."""
    completion_time: Time | None = None
    """When the run ended."""
    run_key: str | None = None
    """Identity of the training: data, model, training, name, namespace, cluster, runToken."""
    job_name: str | None = None
    """Job that runs it now."""
    image_digest: str | None = None
    """Digest of the image that ran."""
    resolved: Resolved | None = None
    """The spec after the chart's defaults."""
    progress: Progress | None = None
    """How far the training is."""
    metrics: Annotated[
        tuple[Metric, ...],
        Field(
            max_length=32,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = ()
    """Numbers that the training follows."""
    checkpoint: Checkpoint | None = None
    """The newest durable state."""
    disruptions: Disruptions | None = None
    """What preemption and lost nodes have cost."""
    attempts: Annotated[
        tuple[Attempt, ...],
        Field(
            max_length=10,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["number"],
            },
        ),
    ] = ()
    """The last ten starts of the trainer."""
    usage: Usage | None = None
    """What the run has cost."""
    data: DataStatus | None = None
    """The data that the plan pinned."""
    artifact: Artifact | None = None
    """The model bundle."""
    lineage: Lineage | None = None
    """What the model comes from."""
    pending: Pending | None = None
    """Why the run waits."""
    columns: Columns | None = None
    """Strings for `kubectl get`."""

    @property
    def has_ended(self) -> bool:
        """Says whether the run is over, be it in a phase that only a later version knows."""
        return self.phase in TERMINAL_PHASES or self.completion_time is not None
