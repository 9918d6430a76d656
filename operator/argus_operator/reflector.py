"""Keeps the cache of Jobs and pods as the API server has them: lists them, then watches from there.

What client-go calls a reflector. kopf watches the runs. Of the thirteen changes in a run's life ten
are of its Job and its pod, and what kopf does around a handler at each of them was a quarter of the
operator's processor time; nothing of that is needed to put a picture into the cache.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.connection import WatchEvent
from argus_operator.errors import ApiUnreachable, OperatorError
from argus_operator.queue import WorkQueue
from argus_operator.runs import Runs
from argus_operator.urgency import AT_ONCE, urgency, urgency_of_end
from argus_operator.views import JobView, Key, Listed, PodView, Raw, read_job, read_pod

FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0
"""Seconds before a watch is made again: doubled each time, until one has lasted for the longest."""

_log = structlog.get_logger()

Read = Callable[[Raw], JobView | PodView | None]


@dataclass(frozen=True)
class _Kind:
    name: str
    list: Callable[[str | None], Awaitable[Listed]]
    watch: Callable[[str | None, int], AsyncIterator[WatchEvent]]
    read: Read


class Reflector:
    def __init__(
        self,
        *,
        cluster: Cluster,
        runs: Runs,
        children: Children,
        queue: WorkQueue,
        namespaces: Sequence[str],
        clock: Callable[[], float],
        jitter: random.Random,
    ) -> None:
        self._kinds = (
            _Kind("jobs", cluster.list_jobs, cluster.watch_jobs, read_job),
            _Kind("pods", cluster.list_pods, cluster.watch_pods, read_pod),
        )
        self._runs = runs
        self._children = children
        self._queue = queue
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._clock = clock
        self._jitter = jitter

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Watches for ever."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._namespaces:
                for kind in self._kinds:
                    group.create_task(self._reflect(kind, namespace, sleep))

    async def _reflect(
        self, kind: _Kind, namespace: str | None, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        version: int | None = None
        pause = FIRST_PAUSE
        while True:
            began = self._clock()
            broken: OperatorError | None = None
            try:
                if version is None:
                    version = self._correct(await kind.list(namespace), namespace)
                async for event in kind.watch(namespace, version):
                    version = event.version
                    self.hear(event, kind.read)
            except ApiUnreachable as error:  # what came after this version comes again
                broken = error
            except OperatorError as error:  # as when the API server has forgotten this version
                broken, version = error, None
            if self._clock() - began > LAST_PAUSE:
                pause = FIRST_PAUSE
            if broken and pause == FIRST_PAUSE:  # one line for each row of failures
                _log.warning("watch broken", kind=kind.name, error=str(broken))
            await sleep(pause * self._jitter.uniform(0.5, 1.0))
            pause = min(2 * pause, LAST_PAUSE)

    def hear(self, event: WatchEvent, read: Read) -> None:
        """Takes one change."""
        if event.type == "BOOKMARK":
            return
        try:
            child = read(event.object)
        except Exception:
            # A bug met by one object must not stop the others.
            _log.exception("change not read", version=event.version)
            return
        if child is None:
            return
        before = self._children.find(child)
        if event.type == "DELETED":
            self._children.drop(child)
            self._look_at(child.key, urgency_of_end(child))
        elif self._children.put(child):
            within = urgency(before, child)
            if within is not None:
                self._look_at(child.key, within)

    def _correct(self, listed: Listed, namespace: str | None) -> int:
        for key in self._children.correct(listed, namespace):
            self._look_at(key, AT_ONCE)
        return listed.version

    def _look_at(self, key: Key, within: float) -> None:
        if not self._runs.is_settled(key, self._children.jobs(key)):
            self._queue.add_within(key, within)
