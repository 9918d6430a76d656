"""What the operator knows of objects in the cluster: small frozen values.

A Job or a pod is cut down to what policies ask about, so that the cache of thousands of them
stays small. `reading` makes these of what the API server sends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from argus_contract.progress import ProgressReport
from argus_contract.run_key import is_job_of
from argus_contract.spec import ArgusTrainingJobSpec
from argus_contract.status import ArgusTrainingJobStatus


class Key(NamedTuple):
    """Names a run: all that an event carries into the queue."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class RunView:
    """An ArgusTrainingJob."""

    key: Key
    uid: str
    resource_version: str
    generation: int
    created: datetime
    deleting: bool
    labels: Mapping[str, str]
    """Only those that are copied to children."""
    spec: ArgusTrainingJobSpec | None
    spec_errors: tuple[str, ...]
    """Why `spec` is None: field, value and rule of each error."""
    status: ArgusTrainingJobStatus

    @property
    def is_told(self) -> bool:
        """Says whether the status of a run that has ended speaks of this spec.

        One whose phase only a later version of the operator knows is left as it is.
        """
        seen = self.status.observed_generation
        return self.status.phase is None or seen in (None, self.generation)


class JobEnd(StrEnum):
    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True, kw_only=True)
class ChildView:
    """What a Job and a pod of a run have in common."""

    key: Key
    """The run that its label names."""
    name: str
    uid: str
    resource_version: int
    owner_uid: str | None
    """Uid of the controlling resource: a Job's run, a pod's Job."""
    created: datetime
    deleting: bool = False
    planning: bool = False
    """True for a Job that plans on a CPU and trains nothing, and for its pods."""


@dataclass(frozen=True, kw_only=True)
class JobView(ChildView):
    """A Job of ours."""

    run_key: str | None = None
    """Identity of the training that it was made for, by its label."""
    queue: str | None = None
    """Kueue's queue that it waits in, by its label."""
    suspended: bool = False
    suspended_message: str | None = None
    failed: int = 0
    """Pods that counted against backoffLimit."""
    end: JobEnd | None = None
    end_reason: str | None = None
    end_message: str | None = None
    ended: datetime | None = None

    @property
    def generation(self) -> int:
        """Number of this Job among those of its kind and run, from 1 (see `run_key.job_name`)."""
        suffix = self.name.rpartition("-")[2]
        return int(suffix) if suffix.isdigit() else 0


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How the trainer container ended."""

    code: int
    reason: str | None
    """Kubernetes' word: Completed, Error, OOMKilled, ..."""
    started: datetime | None
    finished: datetime | None
    message: str | None
    """The termination message if it is not a report."""
    report: ProgressReport | None
    """The trainer's last words."""

    @property
    def tells_why(self) -> bool:
        """Says whether more is known of it than its code."""
        return self.reason == "OOMKilled" or bool(self.report and self.report.end_reason)


@dataclass(frozen=True, kw_only=True)
class Hindrance:
    """Why something does not start, in the words of whoever said so."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class PodView(ChildView):
    """A pod with a trainer, which trains or plans."""

    job: str | None = None
    """Name of the Job that controls it; None: no Job does."""
    run_key: str | None = None
    """Identity of the training that it was made for, by its label."""
    phase: str = "Pending"
    node: str | None = None
    ip: str | None = None
    ready: bool = False
    started: datetime | None = None
    """When the trainer container started."""
    running: bool = False
    unschedulable: Hindrance | None = None
    waiting: Hindrance | None = None
    """State `waiting` of the container."""
    disruption: Hindrance | None = None
    """Condition DisruptionTarget."""
    exit: Exit | None = None
    leave_by: datetime | None = None
    """When it should be gone, once its deletion was asked for: the end of its grace period."""
    pod_reason: str | None = None
    """`status.reason`, for example Evicted."""
    pod_message: str | None = None
    """`status.message`: why the kubelet refused it."""
    image_digest: str | None = None
    gone: bool = False
    """True for the last picture of a pod that is no longer in the API server."""

    @property
    def is_ours(self) -> bool:
        """Says whether a Job of the run controls it; anybody can put labels on a pod."""
        return self.job is not None and is_job_of(self.key.name, self.job)

    @property
    def live(self) -> bool:
        """True while its trainer runs or may still start."""
        return not (self.gone or self.exit or self.phase in ("Succeeded", "Failed"))


@dataclass(frozen=True, kw_only=True)
class Listed:
    """All children of one kind, as one list of the API server showed them."""

    kind: type[JobView] | type[PodView]
    children: tuple[JobView | PodView, ...]
    version: int
    """resourceVersion at which the list was made."""


@dataclass(frozen=True, kw_only=True)
class ListedRuns:
    """A page of a list of runs."""

    keys: tuple[Key, ...]
    documents: tuple[RunView, ...]
    """Of those that were asked for."""
    version: int
    """resourceVersion at which the list was made."""


@dataclass(frozen=True, kw_only=True)
class LeaseView:
    """A `coordination.k8s.io` Lease."""

    namespace: str
    name: str
    resource_version: str
    holder: str
    """Empty: nobody's."""
    duration: float
    """Seconds after a renewal at which it may be taken."""
    acquired: str | None
    renewed: datetime | None
    transitions: int
    refused_by: str | None
    """Who serves what the holder asks for, in the words of `scopes`."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
