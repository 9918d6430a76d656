"""What a decision consists of: actions, the whole status, news to tell, when to look again.

`Draft` is a decision in the making: each policy returns a changed copy.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from argus_contract.spec import ArgusTrainingJobSpec
from argus_contract.status import ArgusTrainingJobStatus, Phase, Resolved
from argus_operator.configuration import Configuration
from argus_operator.views import JobView, PodView


@dataclass(frozen=True, kw_only=True)
class CreateJob:
    """Make the Job of this generation of the run."""

    name: str
    planning: bool = False
    """True for a Job that plans on a CPU and trains nothing."""
    spec: ArgusTrainingJobSpec
    resolved: Resolved
    run_key: str


@dataclass(frozen=True, kw_only=True)
class ProveJob:
    """Ask the API server whether it would take this Job, without making it."""

    job: CreateJob


@dataclass(frozen=True, kw_only=True)
class DeleteJob:
    """Remove a Job that must not run any more, with its pods."""

    job: JobView


@dataclass(frozen=True, kw_only=True)
class DeletePod:
    """Remove a pod by force: nobody on its node will."""

    pod: PodView


Action = CreateJob | ProveJob | DeleteJob | DeletePod


@dataclass(frozen=True, kw_only=True)
class News:
    """One line for the log and one event on the resource."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision:
    actions: tuple[Action, ...]
    status: ArgusTrainingJobStatus
    news: tuple[News, ...]
    """To tell once the status is stored."""
    wake_at: datetime | None
    """When time alone may change the answer."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A decision in the making."""

    configuration: Configuration
    status: ArgusTrainingJobStatus
    job: JobView | None = None
    """The Job that the run is at: of the newest generation, planning or training."""
    accepted: bool = False
    validated: bool = False
    """True once a trainer may be asked for: the data is judged, or need not be."""
    halted: bool = False
    """True while nothing may run: the run stands still, or is on its way there."""
    over: bool = False
    """True once nothing but tidying up is left."""
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None

    def with_status(self, **changes: object) -> "Draft":
        """Returns a draft whose status has these fields (Python names) changed."""
        return replace(self, status=self.status.model_copy(update=changes))

    def waking_at(self, time: datetime) -> "Draft":
        """Returns a draft that looks again at this time, or earlier if it was to anyway."""
        return replace(self, wake_at=min(time, self.wake_at or time))

    def saying(self, phase: Phase, reason: str, message: str) -> "Draft":
        """Returns a draft with this headline, cut to what the API server takes."""
        return self.with_status(phase=phase, reason=reason[:128], message=message[:4096])
