"""Things that threads make ahead of need, handed out in order.

Drawing is one sequence: a thread that is free draws the next draft, alone, and takes with it the
place that it answers. Making comes after, side by side. So what comes, and in which order,
depends neither on the number of threads nor on which of them is faster.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

from argus_trainer.data.fetch import CHECK_SECONDS

NUM_MAKERS = 2
"""Threads that make batches, and batches beside the one in use. One thread does not copy at the
speed of memory; more would take the CPU from the training and gain little."""

Check = Callable[[], None]
"""Called while something waits; raises when it should not go on."""
Made = TypeVar("Made")
MadeOfIt = TypeVar("MadeOfIt", covariant=True)


class Draft(Protocol[MadeOfIt]):
    """What is drawn and not made yet."""

    def make(self) -> MadeOfIt: ...


def made_ahead(
    draw: Callable[[Check], Generator[Draft[Made], None, None]],
    num_threads: int,
    *,
    begin: Callable[[], object],
    check: Check,
) -> Generator[Made, None, None]:
    """Yields what the drafts make, in their order. The threads end with it.

    As many things as threads exist beside the one that was yielded last. `draw` calls the
    function that it is given while it waits; `check` is called while this waits, and may raise.
    `begin` is called by each thread before its first draft. An error of a thread is raised in
    the place of what it was at.
    """
    left = threading.Event()

    def go_on() -> None:
        if left.is_set():
            raise CancelledError

    drafts = draw(go_on)
    drawing = threading.Lock()
    of_thread = threading.local()
    # An answer is a box with one thing, or none at the end. It is emptied when it is taken: a
    # thread that is slow to return holds an empty one.
    unanswered: deque[Future[list[Made]]] = deque()
    asked: deque[Future[list[Made]]] = deque()

    def answer_one() -> None:
        with drawing:
            place = unanswered.popleft()
            try:
                if not hasattr(of_thread, "has_begun"):
                    begin()
                    of_thread.has_begun = True
                draft = next(drafts, None)
            except BaseException as error:
                place.set_exception(error)
                return
        try:
            box = [draft.make()] if draft else []
        except BaseException as error:
            place.set_exception(error)
            return
        del draft
        place.set_result(box)

    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="argus-batches")
    try:
        while True:
            while len(asked) < num_threads:
                place: Future[list[Made]] = Future()
                asked.append(place)
                unanswered.append(place)
                pool.submit(answer_one)
            while not wait([asked[0]], timeout=CHECK_SECONDS).done:
                check()
            box = asked.popleft().result()
            if not box:
                return
            yield box.pop()
    finally:
        left.set()
        pool.shutdown(wait=True, cancel_futures=True)
        drafts.close()
