"""What keeps the operator going: workers, the resync, the liveness check."""

import asyncio
import random
from typing import Any

import pytest

from argus_operator.children import Children
from argus_operator.errors import ApiUnreachable, api_error
from argus_operator.health import MAX_WAIT_SECONDS, ailment
from argus_operator.queue import WorkQueue
from argus_operator.resync import Resync
from argus_operator.views import JobView, Key, Listed, PodView
from argus_operator.workers import work

A, B = Key("team", "a"), Key("team", "b")


class Listing:
    """The listing calls of `Cluster`, answering with what a test puts here."""

    def __init__(self) -> None:
        self.runs: list[Key] = []
        self.jobs: list[JobView] = []
        self.version = 100

    async def list_runs(self, namespace: str | None) -> list[Key]:
        return self.runs

    async def list_jobs(self, namespace: str | None) -> Listed:
        return Listed(kind=JobView, children=tuple(self.jobs), version=self.version)

    async def list_pods(self, namespace: str | None) -> Listed:
        return Listed(kind=PodView, children=(), version=self.version)


def make_resync(listing: Any, queue: WorkQueue, children: Children) -> Resync:
    return Resync(cluster=listing, children=children, queue=queue, namespaces=())


def make_queue() -> WorkQueue:
    return WorkQueue(lambda: 0.0, random.Random(1))


async def work_until(reconcile: Any, keys: list[Key], done: asyncio.Event) -> WorkQueue:
    queue = make_queue()
    for key in keys:
        queue.add(key)

    class Reconciler:
        async def reconcile(self, key: Key) -> float | None:
            result: float | None = await reconcile(key)
            return result

    reconciler: Any = Reconciler()
    task = asyncio.create_task(work(queue, reconciler))
    async with asyncio.timeout(5):
        await done.wait()
    # Whoever set `done` still has to hand its key back.
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return queue


@pytest.mark.parametrize("error", [ApiUnreachable("no answer"), ValueError("a bug")])
def test_a_run_that_fails_is_tried_later_and_stops_no_other(error: Exception) -> None:
    async def story() -> tuple[WorkQueue, list[Key]]:
        seen: list[Key] = []
        done = asyncio.Event()

        async def reconcile(key: Key) -> None:
            seen.append(key)
            if len(seen) == 2:
                done.set()
            if key == A:
                raise error

        return await work_until(reconcile, [A, B], done), seen

    queue, seen = asyncio.run(story())
    assert sorted(seen) == [A, B]
    assert (queue.failures(A), queue.failures(B)) == (1, 0)


def test_a_conflict_is_no_failure_and_is_looked_at_again_at_once() -> None:
    async def story() -> tuple[WorkQueue, int]:
        looks = 0
        done = asyncio.Event()

        async def reconcile(key: Key) -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                raise api_error(409, "Conflict", "the object has been modified")
            done.set()

        return await work_until(reconcile, [A], done), looks

    queue, looks = asyncio.run(story())
    assert looks == 2
    assert queue.failures(A) == 0


def test_a_start_fills_the_cache_and_names_every_run(scene: Any) -> None:
    listing, queue, children = Listing(), make_queue(), Children()
    listing.runs = [A, B]
    listing.jobs = list(scene.job().observed.jobs)
    asyncio.run(make_resync(listing, queue, children).fill())
    assert children.jobs(Key("team", "edge")) == scene.observed.jobs
    assert {asyncio.run(queue.take()), asyncio.run(queue.take())} == {A, B}


def test_watches_that_miss_news_twice_in_a_row_are_dead(scene: Any) -> None:
    listing, queue, children = Listing(), make_queue(), Children()
    resync = make_resync(listing, queue, children)

    async def passes() -> list[str | None]:
        found = []
        for version in (1, 2):
            listing.jobs = list(scene.job(resource_version=version).observed.jobs)
            await resync.check(grace=0)
            found.append(ailment(queue, resync))
        await resync.check(grace=0)
        found.append(ailment(queue, resync))
        return found

    once, twice, told_in_between = asyncio.run(passes())
    assert once is None
    assert "no watch event had told" in (twice or "")
    assert told_in_between is None


def test_a_quiet_cluster_is_healthy_and_untaken_work_is_not() -> None:
    now = 0.0
    queue = WorkQueue(lambda: now, random.Random(1))
    resync = make_resync(Listing(), queue, Children())
    now = 10 * MAX_WAIT_SECONDS
    assert ailment(queue, resync) is None
    queue.add(A)
    now += MAX_WAIT_SECONDS + 1
    assert "no worker took it" in (ailment(queue, resync) or "")
