"""What threads make ahead of need comes in order, is never more than planned, and ends."""

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import torch

from argus_trainer.data import ahead as ahead_module
from argus_trainer.data.ahead import made_ahead
from argus_trainer.data.batch import copy_alone
from argus_trainer.errors import Preempted

THREADS = [1, 2, 3, 7]


class Thing:
    def __init__(self, number: int) -> None:
        self.number = number


class Drawn:
    """A draft of a thing; `before` is called in its thread before the thing is there."""

    def __init__(self, number: int, before: Callable[[int], object] = lambda number: None) -> None:
        self._number, self._before = number, before

    def make(self) -> Thing:
        self._before(self._number)
        return Thing(self._number)


def ahead(
    draw: Callable[[Callable[[], None]], Iterator[Any]], num_threads: int, **options: Any
) -> Any:
    arguments = {"begin": lambda: None, "check": lambda: None} | options
    return made_ahead(draw, num_threads, **arguments)


def several(count: int, before: Callable[[int], object] = lambda number: None) -> Any:
    return lambda go_on: (Drawn(number, before) for number in range(count))


def threads_of_makers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("argus-batches")]


@pytest.mark.parametrize("num_threads", THREADS)
def test_all_come_in_the_order_in_which_they_were_drawn(num_threads: int) -> None:
    assert [thing.number for thing in ahead(several(100), num_threads)] == list(range(100))
    assert not threads_of_makers()


def test_one_that_is_made_sooner_waits_for_its_place() -> None:
    is_made = [threading.Event() for _ in range(20)]

    def backwards(number: int) -> None:
        # Each even one is made only after the odd one behind it.
        if number % 2 == 0:
            assert is_made[number + 1].wait(20)
        is_made[number].set()

    assert [thing.number for thing in ahead(several(20, backwards), 2)] == list(range(20))


@pytest.mark.parametrize("num_threads", THREADS)
def test_beside_the_one_in_use_as_many_exist_as_there_are_threads(num_threads: int) -> None:
    made: list[weakref.ref[Drawn]] = []
    most = 0

    class Counted(Thing):
        def __init__(self, number: int) -> None:
            nonlocal most
            super().__init__(number)
            made.append(weakref.ref(self))
            most = max(most, sum(thing() is not None for thing in made))

    class Draft(Drawn):
        def make(self) -> Thing:
            return Counted(self._number)

    for thing in ahead(lambda go_on: (Draft(n) for n in range(60)), num_threads):
        # All that may be made are made before the next one is asked for.
        while len(made) < min(60, thing.number + num_threads):
            threading.Event().wait(0.001)
    assert most <= num_threads + 1
    assert len(made) == 60


def test_a_thread_that_is_slow_to_return_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    may_return = threading.Event()

    class SlowAtFirst(Future[Any]):
        def set_result(self, result: Any) -> None:
            is_first = bool(result) and result[0].number == 0
            super().set_result(result)
            del result
            if is_first:
                assert may_return.wait(20)

    monkeypatch.setattr(ahead_module, "Future", SlowAtFirst)
    things = ahead(several(10), 2)
    first = weakref.ref(next(things))
    rest = [next(things).number for _ in range(8)]
    try:
        assert first() is None
    finally:
        may_return.set()
    assert rest == list(range(1, 9))


@pytest.mark.parametrize("num_threads", THREADS)
def test_an_error_comes_in_the_place_of_what_failed(num_threads: int) -> None:
    def fails_at_10(number: int) -> None:
        if number == 10:
            raise ValueError("ten")

    def draw(go_on: Callable[[], None]) -> Iterator[Drawn]:
        for number in range(20):
            fails_at_10(number)
            yield Drawn(number)

    for drafts in (several(20, fails_at_10), draw):
        things = ahead(drafts, num_threads)
        assert [next(things).number for _ in range(10)] == list(range(10))
        with pytest.raises(ValueError, match="ten"):
            next(things)
        assert not threads_of_makers()


def test_a_thread_that_cannot_begin_is_no_silence() -> None:
    def begin() -> None:
        raise OSError("no thread")

    with pytest.raises(OSError, match="no thread"):
        next(ahead(several(5), 2, begin=begin))


def test_closing_ends_the_threads_though_one_of_them_waits() -> None:
    waits = threading.Event()

    def draw(go_on: Callable[[], None]) -> Iterator[Drawn]:
        yield Drawn(0)
        while True:
            waits.set()
            go_on()

    things = ahead(draw, 2)
    assert next(things).number == 0
    assert waits.wait(20)
    assert threads_of_makers()
    things.close()
    assert not threads_of_makers()


def test_a_stop_is_noticed_while_nothing_comes() -> None:
    def draw(go_on: Callable[[], None]) -> Iterator[Drawn]:
        while True:
            go_on()
        yield

    def check() -> None:
        raise Preempted("SIGTERM")

    with pytest.raises(Preempted):
        next(ahead(draw, 2, check=check))
    assert not threads_of_makers()


def test_threads_that_copy_alone_leave_the_threads_of_the_training_as_they_are() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    found: list[int] = []

    def look(number: int) -> None:
        found.append(torch.get_num_threads())

    try:
        for _ in ahead(several(8, look), 2, begin=copy_alone):
            assert torch.get_num_threads() == 3
        assert found == [1] * 8
        later = threading.Thread(target=look, args=[0])
        later.start()
        later.join()
        assert found[-1] == 3
    finally:
        torch.set_num_threads(before)
