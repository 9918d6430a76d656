"""One look at one run: observe, decide, carry out, one status write, then events.

Idempotent: it may run twice, late, or be killed between any two steps, and the next one
goes on from what the API server and the bucket then say.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from argus_operator.carry_out import Executor
from argus_operator.configuration import Configuration
from argus_operator.decide import decide
from argus_operator.events import EventWriter
from argus_operator.observe import Observer
from argus_operator.status import StatusWriter
from argus_operator.views import Key

_log = structlog.get_logger()


class Reconciler:
    def __init__(
        self,
        *,
        observer: Observer,
        executor: Executor,
        status: StatusWriter,
        events: EventWriter,
        configuration: Configuration,
        clock: Callable[[], datetime],
    ) -> None:
        self._observer = observer
        self._executor = executor
        self._status = status
        self._events = events
        self._configuration = configuration
        self._clock = clock

    async def reconcile(self, key: Key) -> float | None:
        """Returns after how many seconds to look again without being told; None: never.

        Raises errors of `errors.py`; Conflict means that the picture was old.
        """
        observed = await self._observer.observe(key)
        if observed is None:
            return None
        decision = decide(observed, self._configuration)
        if decision.actions:
            observed = await self._executor.carry_out(decision.actions, observed)
            decision = decide(observed, self._configuration)
        if await self._status.write(observed.run, decision.status):
            for news in decision.news:
                tell = _log.warning if news.warning else _log.info
                tell(news.reason, run=str(key), message=news.message)
                await self._events.tell(observed.run, news)
        if decision.wake_at is None:
            return None
        return max(0.0, (decision.wake_at - self._clock()).total_seconds())
