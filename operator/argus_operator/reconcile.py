"""One look at one run: observe, decide, carry out, at most one status write, then events.

Idempotent: it may run twice, late, or be killed between any two steps, and the next one
goes on from what the API server and the bucket then say.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog

from argus_operator.carry_out import Executor
from argus_operator.configuration import Configuration
from argus_operator.decide import decide
from argus_operator.decision import Action, CreateJob, ProveJob
from argus_operator.events import EventWriter
from argus_operator.observe import Observer
from argus_operator.observed import Observed
from argus_operator.runs import Runs
from argus_operator.status import StatusWriter
from argus_operator.views import Key

FIRST_STATUS_SECONDS = 1.0
"""After a run's first Job: what comes of it by then is told with it, in one status, and others that
wait for their Jobs get them first. Kubernetes' own Job controller gathers for as long."""

_log = structlog.get_logger()


class Reconciler:
    def __init__(
        self,
        *,
        runs: Runs,
        observer: Observer,
        executor: Executor,
        status: StatusWriter,
        events: EventWriter,
        configuration: Configuration,
        clock: Callable[[], datetime],
    ) -> None:
        self._runs = runs
        self._observer = observer
        self._executor = executor
        self._status = status
        self._events = events
        self._configuration = configuration
        self._clock = clock
        self._told_later: set[Key] = set()
        """Runs without a status, whose first look wrote none."""

    async def reconcile(self, key: Key, failures: int = 0) -> float | None:
        """Returns after how many seconds to look again without being told; None: never.

        `failures`: looks at this run in a row that failed, up to now.
        Raises errors of `errors.py`; Conflict means that the picture was old.
        """
        try:
            return await self._look(key, failures)
        except BaseException:  # a cancelled one as well
            self._runs.forget(key)
            raise

    async def _look(self, key: Key, failures: int) -> float | None:
        observed = await self._observer.observe(key)
        if observed is None:
            self._status.forget(key)
            self._told_later.discard(key)
            return None
        observed = replace(observed, failures=failures)
        decision = decide(observed, self._configuration)
        if decision.actions:
            is_first = _is_first_job(decision.actions, observed)
            if not is_first:
                await self._observer.confirm(observed.run)
            observed = await self._executor.carry_out(decision.actions, observed)
            if is_first and self._may_be_told_later(observed):
                return FIRST_STATUS_SECONDS
            decision = decide(observed, self._configuration)
        pause = self._status.pause_before(observed.run, decision.status)
        if pause:
            # A deadline does not wait for a turn to write progress.
            return min(pause, self._until(decision.wake_at))
        written = await self._status.write(observed.run, decision.status)
        if written:
            self._told_later.discard(key)
            self._runs.put(written)
            for news in decision.news:
                tell = _log.warning if news.warning else _log.info
                tell(news.reason, run=str(key), message=news.message)
                await self._events.tell(observed.run, news)
            if written.status.has_ended:
                self._observer.forget(key)
                decision = decide(replace(observed, run=written), self._configuration)
                if decision.actions:
                    return 0.0
        return None if decision.wake_at is None else self._until(decision.wake_at)

    def _may_be_told_later(self, observed: Observed) -> bool:
        """Says so once of a run that has a Job and no status: whatever comes then is told.

        One that has a status says something that is not true any more, as Suspended.
        """
        run = observed.run
        if observed.refusal or not observed.jobs:
            return False
        if run.status.phase is not None or run.key in self._told_later:
            return False
        self._told_later.add(run.key)
        return True

    def _until(self, time: datetime | None) -> float:
        return math.inf if time is None else max(0.0, (time - self._clock()).total_seconds())


def _is_first_job(actions: tuple[Action, ...], observed: Observed) -> bool:
    """Says whether all that is done is to make the first Job: an old picture does no harm then."""
    status = observed.run.status
    return status.job_name is None and all(isinstance(a, CreateJob | ProveJob) for a in actions)
