"""Writes status: the only writer, once per reconcile, and only what has changed.

Replaced with the resourceVersion that was read: a resource that was deleted and made again
meanwhile cannot inherit the status of the old one (Conflict: observe again). A server-side apply
would say the same for a quarter more of the API server's time, and nobody shares the status.
Progress shares a budget of writes; what people and other controllers act on (a phase, a reason, a
condition, a Job) does not wait for it.
"""

from collections.abc import Callable
from dataclasses import replace

from argus_contract.status import ArgusTrainingJobStatus
from argus_operator.cluster import Cluster
from argus_operator.policies.wake import WRITES_PER_SECOND
from argus_operator.views import Key, RunView

SOON_SECONDS = 0.001
"""A wake-up may come this much early."""


class StatusWriter:
    def __init__(self, cluster: Cluster, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._next_slot = 0.0
        self._slots: dict[Key, float] = {}
        """When those may write that were told to come again."""

    def pause_before(self, run: RunView, status: ArgusTrainingJobStatus) -> float:
        """Returns after how many seconds this may be written; above 0 only for mere progress.

        Whoever asks again then has its turn, with what is known by then: nobody waits here.
        """
        mere_progress = differs(run.status, status) and _facts(status) == _facts(run.status)
        slot = self._slots.pop(run.key, None)
        if not mere_progress:
            return 0.0
        now = self._clock()
        if slot is None:
            slot = max(now, self._next_slot)
            self._next_slot = slot + 1 / WRITES_PER_SECOND
        if slot - now < SOON_SECONDS:
            return 0.0
        self._slots[run.key] = slot
        return slot - now

    def forget(self, key: Key) -> None:
        """Forgets the turn of a run that is gone."""
        self._slots.pop(key, None)

    async def write(self, run: RunView, status: ArgusTrainingJobStatus) -> RunView | None:
        """Returns the run with this status; None if there was nothing to write. Raises Conflict."""
        if not differs(run.status, status):
            return None
        version = await self._cluster.replace_status(run, status.to_wire())
        # Of the version that was read, so nothing else of it can have changed.
        return replace(run, resource_version=version, status=status)


def _facts(status: ArgusTrainingJobStatus) -> tuple[object, ...]:
    conditions = tuple((c.type, c.status, c.reason) for c in status.conditions)
    return status.phase, status.reason, status.job_name, len(status.attempts), conditions


def differs(before: ArgusTrainingJobStatus, after: ArgusTrainingJobStatus) -> bool:
    """Says whether a write is worth it: a newer time stamp alone is no change."""
    return _without_clock(before) != _without_clock(after)


def _without_clock(status: ArgusTrainingJobStatus) -> ArgusTrainingJobStatus:
    if status.progress is None:
        return status
    progress = status.progress.model_copy(update={"last_update_time": None})
    return status.model_copy(update={"progress": progress})
