"""Ends a process that makes no step: a deadlock, a hung device, an endless loop.

It counts steps, not signs of life: `beat` is called after each part of a step and each batch of a
validation, and before the first one for each object that plan and statistics need. Time in which
the whole process was frozen (a paused machine, Ctrl-Z) does not count.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

from argus_contract.exit_codes import ExitCode

LONGEST_TICK_SECONDS = 10.0
AFTER_OUTAGE_SECONDS = 60.0
"""A wait for a store ends by itself after what is tolerated: it is given time to."""
LEAVING_SECONDS = 60.0
"""How long saving and the last words may take."""


def deadline_of(progress_deadline_seconds: float, outage_tolerance_seconds: float) -> float:
    """Returns the seconds without a step after which a training is stuck."""
    return max(progress_deadline_seconds, outage_tolerance_seconds + AFTER_OUTAGE_SECONDS)


def stacks() -> Iterator[str]:
    """Yields where each thread is now: all that will be known of the cause."""
    name_of = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        where = "".join(traceback.format_stack(frame)).rstrip()
        yield f"Thread {name_of.get(ident, ident)}:\n{where}"


class Watchdog:
    """Watches from `start` to `close`."""

    def __init__(self, deadline_seconds: float, leave: Callable[[float], None]) -> None:
        """`leave` saves and tells, given the seconds of silence; the process ends after it."""
        self._deadline_seconds = deadline_seconds
        self._leave = leave
        self._tick_seconds = min(LONGEST_TICK_SECONDS, deadline_seconds / 10)
        self._beats = 0
        self._closed = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self) -> None:
        """A part of a step is done."""
        self._beats += 1

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        heard, silent_seconds, looked = self._beats, 0.0, time.monotonic()
        while not self._closed.wait(self._tick_seconds):
            now = time.monotonic()
            silent_seconds += min(now - looked, 2 * self._tick_seconds)
            looked = now
            if self._beats != heard:
                heard, silent_seconds = self._beats, 0.0
            elif silent_seconds > self._deadline_seconds:
                self._end_process(silent_seconds)

    def _end_process(self, silent_seconds: float) -> None:
        leaving = threading.Thread(target=self._leave, args=(silent_seconds,), daemon=True)
        leaving.start()
        leaving.join(LEAVING_SECONDS)
        # No exit handlers: they would wait for the thread that is stuck.
        os._exit(int(ExitCode.STUCK))
