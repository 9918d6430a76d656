"""SIGTERM and SIGINT, taken by a thread that waits for nothing else.

A Python signal handler does not run while the main thread sits in a C call, and the first
process of a container ignores signals that nobody took. So both are blocked before anything
heavy is imported, and a thread takes them in `sigwait`. It sets a flag; the main thread reads
it between micro-steps, while waiting and between phases, and unwinds with Preempted. If the
main thread does not answer in time (it sits in a long C call), another thread calls `leave`,
which saves what can be saved, and ends the process.

A signal that comes again never costs a state that can be durable in seconds. Whoever repeats
SIGTERM (a kubelet, a supervisor) is answered by the save that is on its way. SIGINT again is a
person who does not want to wait: what only people read is left out, and saving gets a few
seconds more. The one after it leaves at once.

Standard library and argus_trainer.errors only.
"""

import os
import signal
import threading
import time
from collections.abc import Callable

from argus_trainer.errors import Preempted

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
ANSWER_SECONDS = 3.0
"""How long the main thread may take to notice, of the 5 s in which the state must be safe."""
SAVING_SECONDS = 20.0
"""How long a save may take after a stop was asked for, when the store does not answer."""
LOOK_SECONDS = 0.1
"""How often the thread that takes signals looks for the main thread's answer."""
HASTE_SECONDS = 5.0
"""The same after a SIGINT that was repeated."""
FORCED_EXIT_CODE = 130
"""Of a process that left at once: not 75, which promises a safe state."""
HOW_TO_HURRY = (
    f"Ctrl-C again waits at most {HASTE_SECONDS:.0f} s more, and once more leaves at once"
)


def block_signals() -> None:
    """Keeps the signals for later: they wait until `Stop.listen` takes them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


class Stop:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._asked_at: float | None = None
        self._hastened_at: float | None = None
        self._answered = threading.Event()
        self._leave: Callable[[], int | None] | None = None

    def listen(self) -> None:
        """Blocks the signals in this thread (and all it starts) and takes them in another."""
        block_signals()
        threading.Thread(target=self._take_signals, name="signals", daemon=True).start()

    def on_no_answer(self, leave: Callable[[], int | None]) -> None:
        """Sets what a stuck process does last.

        `leave` returns the exit code, or None when the main thread has answered after all.
        """
        self._leave = leave

    def request(self) -> None:
        """Asks for a stop, as the first signal does."""
        self.hurry()
        self._asked.set()

    def hurry(self) -> None:
        """Ends waits for stores soon (`overdue`), without asking for a stop."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()

    def hasten(self) -> None:
        """Leaves out what only people read, and waits for a store a few seconds more."""
        if self._hastened_at is None:
            self._hastened_at = time.monotonic()

    def requested(self) -> bool:
        return self._asked.is_set()

    @property
    def is_hastened(self) -> bool:
        """Whether a person does not want to wait for anything but the state."""
        return self._hastened_at is not None

    @property
    def is_answered(self) -> bool:
        """Whether the main thread is on its way out."""
        return self._answered.is_set()

    def overdue(self) -> bool:
        """True once waiting for a store that must still save is no use any more."""
        now, asked_at, hastened_at = time.monotonic(), self._asked_at, self._hastened_at
        return (asked_at is not None and now - asked_at > SAVING_SECONDS) or (
            hastened_at is not None and now - hastened_at > HASTE_SECONDS
        )

    def check(self) -> None:
        """Raises Preempted if a stop was asked for."""
        if self._asked.is_set():
            raise Preempted("stopped by a signal: start the run again to go on from here")

    def pause(self, seconds: float) -> None:
        """Passes the time. Raises Preempted as soon as a stop is asked for."""
        self._asked.wait(seconds)
        self.check()

    def answer(self) -> None:
        """Says that the main thread is on its way out: nobody needs to act in its place."""
        self._answered.set()

    def _take_signals(self) -> None:
        signal.sigwait(SIGNALS)
        self.request()
        answer_by = time.monotonic() + ANSWER_SECONDS
        while not self.is_answered and (left := answer_by - time.monotonic()) > 0:
            if again := signal.sigtimedwait(SIGNALS, min(left, LOOK_SECONDS)):
                self._again(again.si_signo)
        if not self.is_answered:
            threading.Thread(target=self._end_process, name="leaving", daemon=True).start()
        while True:
            self._again(signal.sigwait(SIGNALS))

    def _again(self, number: int) -> None:
        """A signal after the first."""
        if number != signal.SIGINT:
            return
        if self.is_hastened:
            os._exit(FORCED_EXIT_CODE)
        self.hasten()

    def _end_process(self) -> None:
        code = self._leave() if self._leave else int(Preempted.exit_code)
        if code is not None:
            # No exit handlers: they would wait for the thread that is stuck.
            os._exit(code)
