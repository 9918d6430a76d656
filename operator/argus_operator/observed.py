"""All that one decision is made from: a frozen picture of a run and its children.

`observe` fills it; tests build it by hand. The clock is a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from argus_contract.progress import ProgressReport
from argus_operator.views import Hindrance, JobView, PodView, RunView


@dataclass(frozen=True, kw_only=True)
class Poll:
    """The newest look at `/progress` of one pod."""

    at: datetime
    report: ProgressReport | None
    """The newest report that was ever read, even if the last look failed."""
    failure: str | None
    """Why the last look failed."""
    failures: int = 0
    """Looks in a row, up to the last, that failed."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The API server did not take our Job."""

    hindrance: Hindrance
    invalid: bool = False
    """True when no Kubernetes of this version could take it: a word of the run is wrong."""
    predecessor: bool = False
    """True when a Job of that name stands that belongs to a dying resource of the same name."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    now: datetime
    run: RunView
    jobs: tuple[JobView, ...] = ()
    """Jobs controlled by this very run (by uid): those that plan, then those that train, oldest
    generation first."""
    pods: tuple[PodView, ...] = ()
    """Pods that Jobs of the run's name control, oldest first, also of Jobs that are gone."""
    polls: Mapping[str, Poll] = field(default_factory=dict)
    """By pod uid."""
    warnings: tuple[Hindrance, ...] = ()
    """Newest warning events of the current Job or pod, read when it does not start."""
    queued: Hindrance | None = None
    """Why Kueue holds the current Job back, in its words."""
    refusal: Refusal | None = None
    """What came of this reconcile's attempt to create a Job."""
    failures: int = 0
    """Looks at this run in a row, up to this one, that failed."""
    num_active: int = 1
    """Runs that have not ended: they share the budget of status writes."""

    @property
    def plannings(self) -> tuple[JobView, ...]:
        """Jobs that plan."""
        return tuple(job for job in self.jobs if job.planning)

    @property
    def trainings(self) -> tuple[JobView, ...]:
        """Jobs that train."""
        return tuple(job for job in self.jobs if not job.planning)

    @property
    def planners(self) -> tuple[PodView, ...]:
        """Pods that plan, but for those of an earlier resource of the same name."""
        return tuple(p for p in self.pods if p.planning and self._is_of_this_run(p))

    @property
    def trainers(self) -> tuple[PodView, ...]:
        """Pods that train, but for those of an earlier resource of the same name."""
        return tuple(p for p in self.pods if not p.planning and self._is_of_this_run(p))

    def _is_of_this_run(self, pod: PodView) -> bool:
        # Two API servers may stamp the run and a pod of its Job in the wrong order.
        if any(pod.owner_uid == job.uid for job in self.jobs):
            return True
        return pod.created >= self.run.created
