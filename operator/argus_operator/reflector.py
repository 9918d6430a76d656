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
from argus_operator.errors import ApiError, OperatorError, WatchFailed
from argus_operator.queue import WorkQueue
from argus_operator.reading import Raw, read_job, read_pod
from argus_operator.urgency import urgency, urgency_of_end
from argus_operator.views import JobView, Listed, PodView

FIRST_PAUSE, BUSY_PAUSE, LAST_PAUSE = 0.1, 1.0, 10.0
"""Seconds before a watch is made again: at first, at least after the API server said no, and at
most. Doubled each time, until a watch has lasted for the longest."""
GONE = 410
"""Answer to a version that the API server has forgotten."""
GIVE_UP_SECONDS = 600.0
"""For which the API server may refuse a watch."""

_log = structlog.get_logger()

Read = Callable[[Raw], JobView | PodView | None]


@dataclass(frozen=True)
class _Kind:
    name: str
    list: Callable[[str | None], Awaitable[Listed]]
    watch: Callable[[str | None, int], AsyncIterator[WatchEvent]]
    read: Read


class _Course:
    """How it goes with one watch: where it stands, and when it is made again."""

    def __init__(self, kind: str) -> None:
        self.version: int | None = None
        """Up to which all is known; None: all must be listed."""
        self._kind = kind
        self._began = 0.0
        self._is_good = False
        self._is_broken = False
        self._refused_since: float | None = None
        """Without an outage between: who cannot be reached refuses nothing."""
        self._pause = FIRST_PAUSE

    def begins(self, now: float) -> None:
        self._began = now

    def goes_on(self, version: int) -> None:
        """The API server told of a change, or ended the watch in order."""
        self.version, self._is_good = version, True
        self._refused_since = None
        if self._is_broken:
            self._is_broken = False
            _log.info("watch stands again", kind=self._kind)

    def breaks(self, error: OperatorError, now: float) -> None:
        """Raises WatchFailed if the API server has refused the watch for long."""
        if not self._is_broken:
            self._is_broken = True
            _log.warning("watch broken", kind=self._kind, error=str(error))
        refusal = error if isinstance(error, ApiError) else None
        if refusal is None:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        elif now - self._refused_since > GIVE_UP_SECONDS:
            raise WatchFailed(f"{self._kind} cannot be watched: {error}") from error
        # What came after this version comes again, for as long as the API server knows it.
        if (refusal and refusal.status == GONE) or self._pause >= LAST_PAUSE:
            self.version = None
        elif refusal:
            self._pause = max(self._pause, BUSY_PAUSE)

    def pause(self, now: float) -> float:
        """Returns seconds until the watch is to be made again."""
        if self._is_good and now - self._began > LAST_PAUSE:
            self._pause = FIRST_PAUSE
        self._is_good = False
        pause, self._pause = self._pause, min(2 * self._pause, LAST_PAUSE)
        return pause


class Reflector:
    def __init__(
        self,
        *,
        cluster: Cluster,
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
        self._children = children
        self._queue = queue
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._clock = clock
        self._jitter = jitter

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Watches for ever. Raises WatchFailed if the API server refuses that for long."""
        try:
            async with asyncio.TaskGroup() as group:
                for namespace in self._namespaces:
                    for kind in self._kinds:
                        group.create_task(self._reflect(kind, namespace, sleep))
        except ExceptionGroup as failed:
            # Not `except*`: before Python 3.11.4 what is raised there is a group again.
            raise failed.exceptions[0] from None

    async def _reflect(
        self, kind: _Kind, namespace: str | None, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        course = _Course(kind.name)
        while True:
            try:
                if course.version is None:
                    course.version = self._correct(await kind.list(namespace), namespace)
                course.begins(self._clock())
                async for event in kind.watch(namespace, course.version):
                    course.goes_on(event.version)
                    self.hear(event, kind.read)
                course.goes_on(course.version)
            except OperatorError as error:
                course.breaks(error, self._clock())
            await sleep(course.pause(self._clock()) * self._jitter.uniform(0.5, 1.0))

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
            self._queue.add_within(child.key, urgency_of_end(child))
        elif self._children.put(child):
            within = urgency(before, child)
            if within is not None:
                self._queue.add_within(child.key, within)

    def _correct(self, listed: Listed, namespace: str | None) -> int:
        for key in self._children.correct(listed, namespace):
            self._queue.add(key)
        return listed.version
