"""SIGTERM and SIGINT, taken by a thread that waits for nothing else.

A Python signal handler does not run while the main thread sits in a C call, and the first
process of a container ignores signals that nobody took. So both are blocked before anything
heavy is imported, and a thread takes them in `sigwait`. It sets a flag; the main thread reads
it between micro-steps, while waiting and between phases, and unwinds with Preempted. If the
main thread does not answer in time (it sits in a long C call), the thread itself calls
`leave`, which saves what can be saved, and ends the process.

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
FORCED_EXIT_CODE = 130
"""Of a second signal while something unsaved is left: not 75, which promises a safe state."""


def block_signals() -> None:
    """Keeps the signals for later: they wait until `Stop.listen` takes them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


class Stop:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._asked_at: float | None = None
        self._answered = threading.Event()
        self._leave: Callable[[], int] | None = None

    def listen(self) -> None:
        """Blocks the signals in this thread (and all it starts) and takes them in another."""
        block_signals()
        threading.Thread(target=self._take_signals, name="signals", daemon=True).start()

    def on_no_answer(self, leave: Callable[[], int]) -> None:
        """Sets what a stuck process does last; `leave` returns the exit code."""
        self._leave = leave

    def request(self) -> None:
        """Asks for a stop, as the first signal does."""
        self.hurry()
        self._asked.set()

    def hurry(self) -> None:
        """Ends waits for stores soon (`overdue`), without asking for a stop."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()

    def requested(self) -> bool:
        return self._asked.is_set()

    def overdue(self) -> bool:
        """True once waiting for a store that must still save is no use any more."""
        asked_at = self._asked_at
        return asked_at is not None and time.monotonic() - asked_at > SAVING_SECONDS

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
        if self._second_signal_within(ANSWER_SECONDS) or not self._answered.is_set():
            self._end_process()
        # The main thread saves and leaves; a person who cannot wait asks again.
        signal.sigwait(SIGNALS)
        os._exit(FORCED_EXIT_CODE)

    def _second_signal_within(self, seconds: float) -> bool:
        return signal.sigtimedwait(SIGNALS, seconds) is not None

    def _end_process(self) -> None:
        # No exit handlers: they would wait for the thread that is stuck.
        os._exit(self._leave() if self._leave else int(Preempted.exit_code))
