"""The work queue, with a clock that the test moves."""

import asyncio
import random

from argus_operator.queue import LAST_RETRY, PATIENCE, Backlog, WorkQueue
from argus_operator.views import Key

A, B = Key("team", "a"), Key("team", "b")


def backlog() -> Backlog:
    return Backlog(random.Random(1))


def test_a_key_that_is_named_often_is_worked_on_once() -> None:
    queue = backlog()
    for now in range(5):
        queue.add(A, now)
    assert queue.take(5.0) == A
    assert queue.take(5.0) is None


def test_a_key_named_while_it_is_worked_on_comes_again_afterwards() -> None:
    queue = backlog()
    queue.add(A, 0)
    assert queue.take(0) == A
    queue.add(A, 1)
    assert queue.take(1) is None, "one worker at a time"
    queue.done(A, 2)
    assert queue.take(2) == A


def test_keys_come_in_the_order_in_which_they_were_named() -> None:
    queue = backlog()
    queue.add(B, 0)
    queue.add(A, 1)
    queue.add(B, 2)
    assert [queue.take(3), queue.take(3)] == [B, A]


def test_a_wake_up_comes_at_its_time_and_the_newest_wish_counts() -> None:
    queue = backlog()
    queue.wake(A, 10.0)
    queue.wake(A, 20.0)
    queue.wake(B, 15.0)
    assert queue.next_wake() == 15.0
    assert queue.take(10.0) is None
    assert queue.take(15.0) == B
    assert queue.take(20.0) == A
    assert queue.next_wake() is None


def test_news_is_gathered_until_the_first_of_it_must_be_looked_at() -> None:
    queue = backlog()
    queue.add_by(A, 1.0)
    queue.add_by(A, 1.5)
    queue.wake(A, 5.0)
    assert queue.next_wake() == 1.0
    assert queue.take(0.9) is None
    assert queue.take(1.0) == A
    queue.done(A, 1.1)
    assert queue.take(4.9) is None, "all of it was seen then"
    assert queue.take(5.0) == A


def test_a_look_for_another_reason_sees_what_was_gathered() -> None:
    queue = backlog()
    queue.add_by(A, 1.0)
    queue.add(A, 0.5)
    queue.add_by(A, 0.6)
    assert queue.take(0.5) == A
    queue.done(A, 0.7)
    assert queue.take(9.0) is None


def test_what_is_gathered_during_a_look_is_seen_by_the_next() -> None:
    queue = backlog()
    queue.add(A, 0)
    assert queue.take(0) == A
    queue.add_by(A, 1.0)
    queue.done(A, 0.5)
    queue.wake(A, None)
    assert queue.take(0.9) is None
    assert queue.take(1.0) == A
    queue.add_by(A, 2.0)
    assert queue.take(2.0) is None, "one worker at a time"
    queue.done(A, 2.5)
    assert queue.take(2.5) == A


def test_what_is_named_for_now_goes_first_but_nothing_waits_for_ever() -> None:
    queue = backlog()
    queue.add_by(A, 1.0)
    queue.wake(B, 1.0)
    assert queue.take(1.0) == A
    queue.done(A, 1.0)
    queue.add(A, 2.0)
    assert queue.take(2.0) == A
    queue.done(A, 2.0)
    queue.add(A, 2.0 + PATIENCE)
    assert queue.oldest(2.0 + PATIENCE) == 1.0 + PATIENCE
    assert [queue.take(2.0 + PATIENCE), queue.take(2.0 + PATIENCE)] == [B, A]


def test_what_has_waited_long_does_not_hold_up_what_is_named_for_now() -> None:
    queue = backlog()
    jobless = [Key("team", f"jobless-{n}") for n in range(3)]
    untold = [Key("team", f"untold-{n}") for n in range(3)]
    for key in untold:
        queue.add_by(key, 0.0)
    queue.add(A, 0.0)
    assert queue.take(0.0) == A
    for key in jobless:
        queue.add(key, PATIENCE)
    taken = [queue.take(PATIENCE + 1.0) for _ in range(6)]
    assert taken == [key for pair in zip(untold, jobless, strict=True) for key in pair]


def test_a_wake_up_can_be_called_off() -> None:
    queue = backlog()
    queue.wake(A, 10.0)
    queue.wake(A, None)
    assert queue.take(99.0) is None


def test_failures_back_off_from_one_second_to_five_minutes_with_jitter() -> None:
    queue, now, pauses = backlog(), 0.0, []
    queue.add(A, now)
    for _ in range(14):
        assert queue.take(now) == A
        pauses.append(queue.failed(A, now))
        assert queue.take(now) is None
        now += pauses[-1]
    assert pauses[0] == 1.0
    assert all(0.5 <= pause <= LAST_RETRY for pause in pauses)
    assert pauses[5] > pauses[1]
    assert pauses[-1] >= LAST_RETRY / 2
    assert len({round(pause, 3) for pause in pauses[-4:]}) == 4, "no two runs retry in step"


def test_success_forgets_the_failures() -> None:
    queue = backlog()
    queue.add(A, 0)
    queue.take(0)
    queue.failed(A, 0)
    assert queue.failures(A) == 1
    assert queue.take(1.0) == A
    queue.done(A, 1.0)
    assert queue.failures(A) == 0


def test_an_event_does_not_wait_for_the_back_off() -> None:
    queue = backlog()
    queue.add(A, 0)
    queue.take(0)
    queue.failed(A, 0)
    queue.add(A, 0.1)
    assert queue.take(0.1) == A


def test_how_long_due_work_waits_is_known() -> None:
    queue = backlog()
    assert queue.oldest(50.0) == 0.0
    queue.add(A, 10.0)
    queue.add(B, 40.0)
    assert queue.oldest(50.0) == 40.0


def test_a_waiting_worker_gets_what_is_added_and_what_becomes_due() -> None:
    async def story() -> list[Key]:
        now = 0.0
        queue = WorkQueue(lambda: now, random.Random(1))
        queue.open()
        waiting = [asyncio.create_task(queue.take()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.add(A)
        queue.add(B)
        taken = [await waiting[0], await waiting[1]]
        queue.done(A)
        queue.wake_in(A, 30.0)
        now = 30.0
        queue.add(B)  # B is being worked on: this only makes the third worker look again
        taken.append(await waiting[2])
        return taken

    assert asyncio.run(story()) == [A, B, A]


def test_a_run_of_which_nothing_is_left_to_do_is_not_taken() -> None:
    settled: set[Key] = set()
    queue = WorkQueue(lambda: 0.0, random.Random(1), settled.__contains__)
    queue.open()
    queue.add(A)
    settled.update((A, B))
    queue.add(B)
    queue.add_within(B, 0.0)
    assert queue._take() == A, "whoever named it before had something to do"
    assert queue._take() is None


def test_news_that_comes_during_a_look_that_fails_does_not_wait_for_the_back_off() -> None:
    queue = backlog()
    queue.add(A, 0)
    queue.take(0)
    queue.add(A, 0.5)
    queue.failed(A, 1.0)
    assert queue.take(1.0) == A
    queue.failed(A, 1.0)
    assert queue.take(1.5) is None, "no news any more"
    assert queue.failures(A) == 2


def test_a_crowd_that_is_worked_off_slowly_is_no_stall() -> None:
    async def story() -> None:
        now = 0.0
        queue = WorkQueue(lambda: now, random.Random(1))
        queue.open()
        for number in range(100):
            queue.add(Key("team", f"run-{number}"))
        for _ in range(50):
            now += 60
            queue.done(await queue.take())
            assert queue.stalled() == 0
        now += 400
        assert queue.stalled() == 400, "nobody takes what is due"
        await queue.take()
        assert queue.stalled() == 0

    asyncio.run(story())


def test_a_picture_that_is_old_again_is_a_failure() -> None:
    queue = backlog()
    queue.add(A, 0)
    assert queue.take(0) == A
    assert queue.outdated(A, 0)
    assert queue.take(0) == A, "at once"
    assert not queue.outdated(A, 0)
    assert queue.failed(A, 0) == 1.0
    assert queue.take(0.5) is None
    assert queue.take(1.0) == A
    queue.done(A, 1.0)
    queue.add(A, 2.0)
    queue.take(2.0)
    assert queue.outdated(A, 2.0), "that is long ago"
