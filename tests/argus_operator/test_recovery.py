"""What keeps the operator going: workers, the resync, the liveness check."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from argus_contract.status import Phase
from argus_operator import life
from argus_operator.children import Children
from argus_operator.election import Election
from argus_operator.errors import ApiUnreachable, api_error
from argus_operator.health import MAX_WAIT_SECONDS, Health, serve
from argus_operator.queue import WorkQueue
from argus_operator.resync import INTERVAL_SECONDS, RETRY_SECONDS, Resync
from argus_operator.runs import Runs
from argus_operator.views import JobView, Key, Listed, ListedRuns, PodView, RunView
from argus_operator.workers import Slots, work

A, B = Key("team", "a"), Key("team", "b")


class Listing:
    """The listing calls of `Cluster`, answering with what a test puts here."""

    def __init__(self) -> None:
        self.runs: list[RunView] = []
        self.jobs: list[JobView] = []
        self.version = 100

    async def list_runs(self, namespace: str | None, is_wanted: Any) -> AsyncIterator[ListedRuns]:
        yield ListedRuns(
            keys=tuple(run.key for run in self.runs),
            documents=tuple(r for r in self.runs if is_wanted(r.key, int(r.resource_version))),
            version=self.version,
        )

    async def list_jobs(self, namespace: str | None) -> Listed:
        return Listed(kind=JobView, children=tuple(self.jobs), version=self.version)

    async def list_pods(self, namespace: str | None) -> Listed:
        return Listed(kind=PodView, children=(), version=self.version)


def make_resync(
    listing: Any, queue: WorkQueue, children: Children, runs: Runs | None = None
) -> Resync:
    return Resync(
        cluster=listing,
        runs=runs or Runs(),
        children=children,
        queue=queue,
        namespaces=(),
        clock=lambda: 0.0,
    )


def make_queue(is_settled: Callable[[Key], bool] = lambda _: False) -> WorkQueue:
    queue = WorkQueue(lambda: 0.0, random.Random(1), is_settled)
    queue.open()
    return queue


def make_health(queue: WorkQueue, resync: Resync, leader: str | None = "another-pod") -> Health:
    lease: Any = SimpleNamespace(other=leader)
    return Health(queue, resync, Election(lease))


async def work_until(
    reconcile: Any, keys: list[Key], done: asyncio.Event, slots: Slots | None = None
) -> WorkQueue:
    queue = make_queue()
    for key in keys:
        queue.add(key)

    class Reconciler:
        async def reconcile(self, key: Key, failures: int) -> float | None:
            result: float | None = await reconcile(key)
            return result

    reconciler: Any = Reconciler()
    task = asyncio.create_task(work(queue, reconciler, slots or Slots()))
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


def test_who_waits_for_a_stranger_keeps_nobody_from_working() -> None:
    async def story() -> list[str]:
        told: list[str] = []
        slots, done, answered = Slots(1), asyncio.Event(), asyncio.Event()

        async def reconcile(key: Key) -> None:
            if key == B:
                answered.set()
                told.append("B has worked")
                return
            async with slots.lent():
                await answered.wait()
            told.append("A has its slot again")
            done.set()

        await work_until(reconcile, [A, B], done, slots)
        return told

    assert asyncio.run(story()) == ["B has worked", "A has its slot again"]


def test_no_more_work_at_a_time_than_there_are_slots() -> None:
    async def story() -> int:
        at_work, most, left = 0, 0, 6
        done = asyncio.Event()
        slots = Slots(2)

        async def reconcile(key: Key) -> None:
            nonlocal at_work, most, left
            async with slots.lent():
                await asyncio.sleep(0)
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0)
            at_work -= 1
            left -= 1
            if not left:
                done.set()

        await work_until(reconcile, [Key("default", f"run-{n}") for n in range(6)], done, slots)
        return most

    assert asyncio.run(story()) == 2


def test_who_ends_before_it_has_its_slot_again_leaves_no_more_slots_than_there_were() -> None:
    async def story() -> int:
        slots, answered = Slots(1), asyncio.Event()

        async def ends_early() -> None:
            await slots.take()
            try:
                async with slots.lent():
                    await answered.wait()
            finally:
                slots.give_back()

        early = asyncio.create_task(ends_early())
        await asyncio.sleep(0)
        await slots.take()
        answered.set()
        await asyncio.sleep(0)
        early.cancel()
        await asyncio.gather(early, return_exceptions=True)
        slots.give_back()
        at_work = [asyncio.create_task(slots.take()) for _ in range(3)]
        for _ in range(3):
            await asyncio.sleep(0)
        number = sum(task.done() for task in at_work)
        for task in at_work:
            task.cancel()
        return number

    assert asyncio.run(story()) == 1


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


def test_a_replica_that_begins_to_act_names_every_run(scene: Any) -> None:
    listing, queue, children = Listing(), WorkQueue(lambda: 0.0, random.Random(1)), Children()
    listing.runs = [replace(scene.observed.run, key=key) for key in (A, B)]
    listing.jobs = list(scene.job().observed.jobs)
    resync = make_resync(listing, queue, children)
    asyncio.run(resync.fill())
    assert children.jobs(Key("team", "edge")) == scene.observed.jobs
    assert not queue.is_open
    resync.begin()
    assert {asyncio.run(queue.take()), asyncio.run(queue.take())} == {A, B}


def test_a_listing_finds_runs_that_no_event_told_of_and_leaves_alone_what_has_ended(
    scene: Any,
) -> None:
    def run(key: Key, version: int, phase: Phase | None = None, **changes: Any) -> RunView:
        status = scene.observed.run.status.model_copy(update={"phase": phase})
        made = replace(scene.observed.run, key=key, resource_version=str(version), status=status)
        return replace(made, **changes)

    listing, children, runs = Listing(), Children(), Runs()
    queue = make_queue(lambda key: runs.is_settled(key, children.jobs(key)))
    resync = make_resync(listing, queue, children, runs)
    gone, suspended, known, over = (
        Key("team", name) for name in ("gone", "halted", "known", "over")
    )
    for key in (gone, suspended, known):
        runs.put(run(key, 1))
    wish = run(suspended, 5, generation=2)
    listing.runs = [wish, run(known, 1), run(over, 3, Phase.SUCCEEDED)]
    asyncio.run(resync.check(grace=0))
    named = {asyncio.run(queue.take()) for _ in range(3)}
    assert named == {gone, suspended, known}
    assert queue._take() is None, "nobody looks at a run that is over"
    assert runs.get(suspended) == wish
    assert runs.get(gone) is None
    assert resync.passes_with_missed_news == 1


def test_watches_that_miss_news_twice_in_a_row_are_dead(scene: Any) -> None:
    listing, queue, children = Listing(), make_queue(), Children()
    resync = make_resync(listing, queue, children)
    health = make_health(queue, resync)

    async def passes() -> list[tuple[bool, str]]:
        found = []
        for version in (1, 2):
            listing.jobs = list(scene.job(resource_version=version).observed.jobs)
            await resync.check(grace=0)
            found.append(health.live())
        await resync.check(grace=0)
        found.append(health.live())
        return found

    once, twice, told_in_between = asyncio.run(passes())
    assert once == (True, "alive")
    assert twice == (False, "two listings in a row found changes that no watch event had told")
    assert told_in_between == (True, "alive")


def test_a_quiet_cluster_is_healthy_and_untaken_work_is_not() -> None:
    now = 0.0
    queue = WorkQueue(lambda: now, random.Random(1))
    queue.open()
    health = make_health(queue, make_resync(Listing(), queue, Children()))
    now = 10 * MAX_WAIT_SECONDS
    assert health.live() == (True, "alive")
    queue.add(A)
    now += MAX_WAIT_SECONDS + 1
    assert health.live() == (False, "runs have been due for 181 s and no worker took one")


def test_a_replica_that_stands_by_has_no_untaken_work_and_is_ready() -> None:
    now = 0.0
    queue = WorkQueue(lambda: now, random.Random(1))
    resync = make_resync(Listing(), queue, Children())
    health = make_health(queue, resync)
    assert health.started() == (False, "runs, Jobs and pods are not listed yet")
    assert health.ready() == (False, "runs, Jobs and pods could not be listed")
    asyncio.run(resync.fill())
    queue.add(A)
    now = 10 * MAX_WAIT_SECONDS
    assert health.started() == (True, "started")
    assert health.live() == (True, "alive")
    well, says = health.ready()
    assert well
    assert says.startswith("standing by; another-pod leads")
    assert make_health(queue, resync, leader=None).ready()[0] is False, "nobody leads"
    queue.open()  # elected
    assert health.live() == (True, "alive")
    now *= 2
    assert health.live() == (True, "alive"), "what it heard while it stood by does not wait"


def test_a_leader_is_ready_once_it_gives_out_work_and_not_while_it_stops() -> None:
    async def story() -> list[bool]:
        queue = WorkQueue(lambda: 0.0, random.Random(1))
        resync = make_resync(Listing(), queue, Children())
        health = make_health(queue, resync)
        await resync.fill()
        health._election.elected.set()
        answers = [health.ready()[0]]
        queue.open()
        answers.append(health.ready()[0])
        await queue.close()
        answers.append(health.ready()[0])
        return answers

    assert asyncio.run(story()) == [False, True, False]


def test_listings_that_fail_are_tried_again_soon_and_make_the_replica_unready() -> None:
    now = 0.0
    pauses: list[float] = []

    class Failing(Listing):
        async def list_jobs(self, namespace: str | None) -> Listed:
            if now > 0:
                raise ApiUnreachable("no answer")
            return await super().list_jobs(namespace)

    async def story(resync: Resync, sleep: Any) -> None:
        await resync.fill()
        await resync.run(sleep)

    async def pass_time(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds
        if len(pauses) == 80:
            raise asyncio.CancelledError

    queue = make_queue()
    resync = Resync(
        cluster=cast(Any, Failing()),
        runs=Runs(),
        children=Children(),
        queue=queue,
        namespaces=(),
        clock=lambda: now,
    )
    health = make_health(queue, resync)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(story(resync, pass_time))
    assert pauses[:3] == [INTERVAL_SECONDS, RETRY_SECONDS, RETRY_SECONDS]
    assert health.ready() == (False, "runs, Jobs and pods could not be listed")
    assert health.live() == (True, "alive"), "to start again would not help"


def test_probes_are_answered_over_http_and_a_blocked_loop_answers_none() -> None:
    queue = make_queue()
    resync = make_resync(Listing(), queue, Children())

    def ask(address: str, path: str, patience: float) -> int | str:
        try:
            with urlopen(f"http://{address}{path}", timeout=patience) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except TimeoutError:
            return "no answer"

    async def story() -> list[int | str]:
        runner = await serve(make_health(queue, resync), "127.0.0.1:0")
        host, port = runner.addresses[0]
        address = f"{host}:{port}"
        answers = [await asyncio.to_thread(ask, address, "/startupz", 5)]
        await resync.fill()
        answers += [
            await asyncio.to_thread(ask, address, path, 5)
            for path in ("/startupz", "/livez", "/readyz")
        ]
        # Asked from another thread, while this one never comes back to its loop.
        with ThreadPoolExecutor(1) as pool:
            answers.append(pool.submit(ask, address, "/livez", 0.2).result())
        await runner.cleanup()
        return answers

    assert asyncio.run(story()) == [503, 200, 200, 200, "no answer"]


def test_a_closed_queue_gives_out_nothing_and_waits_for_what_is_in_hand() -> None:
    async def story() -> None:
        queue = WorkQueue(lambda: 0.0, random.Random(1))
        queue.add(B)
        taking = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        assert not taking.done(), "not open yet"
        queue.open()
        queue.add(A)
        assert await taking == A, "what was added before is forgotten"
        queue.add(B)
        closing = asyncio.create_task(queue.close())
        taking = asyncio.create_task(queue.take())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not closing.done()
        queue.done(A)
        await closing
        for _ in range(3):
            await asyncio.sleep(0)
        assert not taking.done()
        taking.cancel()

    asyncio.run(story())


def test_a_replica_that_begins_to_lead_trusts_no_picture_from_before(scene: Any) -> None:
    """Another one wrote until then, and not all of it may have been told yet."""

    class Claims:
        async def claim(self) -> None:
            runs.put(scene.observed.run)

        async def keep(self) -> None:
            known.append((runs.get(scene.observed.run.key), queue.is_open))

    runs, queue = Runs(), WorkQueue(lambda: 0.0, random.Random(1))
    resync = make_resync(Listing(), queue, Children(), runs)
    known: list[tuple[RunView | None, bool]] = []

    async def story() -> None:
        election: Any = SimpleNamespace(elected=asyncio.Event(), lease="team/argus-operator")
        election.elected.set()
        await life._act(election, cast(Any, Claims()), resync.begin)

    asyncio.run(story())
    assert known == [(None, True)]
