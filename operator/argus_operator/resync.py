"""Lists everything at start and every 10 minutes: what a watch missed is found.

At start it fills the caches; when this process begins to act it names all runs that have
something left to do. Later it is a check of the watches: news that a list brings, and that
no event brought within a grace period, was missed; two passes in a row with missed news mean
that a watch is dead (see `health`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.errors import OperatorError, WatchFailed
from argus_operator.queue import WorkQueue
from argus_operator.runs import Change, Runs
from argus_operator.views import Key, Listed, ListedRuns

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
        runs: Runs,
        children: Children,
        queue: WorkQueue,
        namespaces: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._runs = runs
        self._children = children
        self._queue = queue
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._clock = clock
        self.passes_with_missed_news = 0
        """In a row, up to now."""
        self.listed_at: float | None = None
        """When everything was listed last; None: not yet."""
        self._newest: dict[type, int] = {}
        """Version of the newest list of each kind."""

    async def fill(self) -> None:
        """The first pass: fills the caches. Raises errors of `errors.py`."""
        for namespace in self._namespaces:
            for listed in await self._children_of(namespace):
                self._children.correct(listed, namespace)
            async for page in self._cluster.list_runs(namespace, self._runs.is_newer):
                for run in page.documents:
                    self._runs.put(run)
        self.listed_at = self._clock()

    def begin(self) -> None:
        """Has every run looked at that has something left to do: from now on this process acts."""
        # Another replica wrote until now, and not all of it may have been told yet.
        self._runs.forget_all()
        self._queue.open()
        self._name(self._runs.keys())

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
            pages = [page async for page in self._cluster.list_runs(namespace, self._runs.is_newer)]
            await asyncio.sleep(grace)
            corrected = [self._children.correct(listed, namespace) for listed in lists]
            news = self._correct(pages, namespace).union(*corrected)
            self._name(news)
            missed += len(news)
            for page in pages:
                self._name(page.keys)
        self.listed_at = self._clock()
        self.passes_with_missed_news = self.passes_with_missed_news + 1 if missed else 0
        if missed:
            _log.warning("resync found what no event told", runs=missed)

    async def _children_of(self, namespace: str | None) -> tuple[Listed, ...]:
        lists = (
            await self._cluster.list_jobs(namespace),
            await self._cluster.list_pods(namespace),
        )
        for listed in lists:
            newest = self._newest.get(listed.kind, 0)
            if listed.version < newest:
                # Watches wait for versions that are days away, and caches hold what is no more.
                raise WatchFailed(
                    f"the API server's versions went back from {newest} to {listed.version}, "
                    "as when its etcd was restored: the operator must begin anew"
                )
            self._newest[listed.kind] = listed.version
        return lists

    def _correct(self, pages: Sequence[ListedRuns], namespace: str | None) -> set[Key]:
        """Takes the whole list of runs; returns those for which it was news."""
        found = [run for page in pages for run in page.documents]
        news = {run.key for run in found if self._runs.put(run) is not Change.NOTHING}
        listed = {key for page in pages for key in page.keys}
        for key in self._runs.absent_from(listed, pages[-1].version, namespace):
            self._runs.drop(key, pages[-1].version)
            news.add(key)
        return news

    def _name(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._queue.add(key)
