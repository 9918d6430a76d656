"""Lists everything at start and every 10 minutes: what a watch missed is found.

At start it fills the cache before the first decision. Later it is a check of the
watches: news that a list brings, and that no event brought within a grace period, was
missed; two passes in a row with missed news mean that a watch is dead (see `health`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.errors import OperatorError
from argus_operator.queue import WorkQueue
from argus_operator.views import Key, Listed

INTERVAL_SECONDS = 600.0
GRACE_SECONDS = 5.0
"""An event is at most this much later than a list that shows the same."""
RETRY_SECONDS = 15.0

_log = structlog.get_logger()


class Resync:
    def __init__(
        self,
        *,
        cluster: Cluster,
        children: Children,
        queue: WorkQueue,
        namespaces: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._children = children
        self._queue = queue
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._clock = clock
        self.passes_with_missed_news = 0
        """In a row, up to now."""
        self.listed_at: float | None = None
        """When everything was listed last; None: not yet."""

    async def fill(self) -> None:
        """The first pass: everything is news. Raises errors of `errors.py`."""
        for namespace in self._namespaces:
            for listed in await self._children_of(namespace):
                self._children.correct(listed, namespace)
            await self._enqueue_runs(namespace)
        self.listed_at = self._clock()

    def is_stale(self) -> bool:
        """Says whether two passes in a row could not list: nothing would be found."""
        return (
            self.listed_at is None
            or self._clock() - self.listed_at > 2 * INTERVAL_SECONDS + GRACE_SECONDS
        )

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Passes for ever, after the first."""
        pause = INTERVAL_SECONDS
        while True:
            await sleep(pause)
            try:
                await self.check()
                pause = INTERVAL_SECONDS
            except OperatorError as error:
                _log.warning("resync failed", error=str(error))
                pause = RETRY_SECONDS

    async def check(self, grace: float = GRACE_SECONDS) -> None:
        """One pass: lists, waits for events that are on their way, and compares."""
        missed = 0
        for namespace in self._namespaces:
            lists = await self._children_of(namespace)
            await asyncio.sleep(grace)
            corrected = [self._children.correct(listed, namespace) for listed in lists]
            news = set[Key]().union(*corrected)
            for key in news:
                self._queue.add(key)
            missed += len(news)
            await self._enqueue_runs(namespace)
        self.listed_at = self._clock()
        self.passes_with_missed_news = self.passes_with_missed_news + 1 if missed else 0
        if missed:
            _log.warning("resync found what no event told", runs=missed)

    async def _children_of(self, namespace: str | None) -> tuple[Listed, ...]:
        return (
            await self._cluster.list_jobs(namespace),
            await self._cluster.list_pods(namespace),
        )

    async def _enqueue_runs(self, namespace: str | None) -> None:
        for key in await self._cluster.list_runs(namespace):
            self._queue.add(key)
