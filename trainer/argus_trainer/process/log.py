"""What a process says, kept in memory as far as it is worth keeping.

Lines of the run and warnings of its libraries (structlog) go to the terminal and, with the time
in front, into the newest MiB, which outlives the pod in the bucket (`traces.py`).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog

from argus_trainer.checkpoints.signs import STAMP

MOST_BYTES = 1 << 20
UP_TO_HERE = "(up to here)"


class Log:
    """Says lines with `say` and remembers them. Safe to use from several threads."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], datetime]) -> None:
        self._say = say
        self._clock = clock
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        kept = self._stamped(line)
        with self._lock:
            self._lines.append(kept)
            self._size += len(kept)
            while self._size > MOST_BYTES:
                self._size -= len(self._lines.popleft())
        self._say(line)

    def newest(self) -> bytes:
        """Returns the newest lines, at most a MiB, and the time up to which they tell all."""
        with self._lock:
            return b"".join([*self._lines, self._stamped(UP_TO_HERE)])

    def _stamped(self, line: str) -> bytes:
        return f"{self._clock().astimezone(UTC):{STAMP}} {line}\n".encode(errors="replace")

    @contextmanager
    def hears_libraries(self) -> Iterator[None]:
        """Has structlog's lines said here too."""
        before = structlog.get_config()
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.dev.ConsoleRenderer(colors=False),
            ],
            logger_factory=lambda *_: _Voice(self.say),
        )
        try:
            yield
        finally:
            structlog.configure(**before)


class _Voice:
    """A structlog logger of one level: the line tells which it was."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def __getattr__(self, level: str) -> Callable[[Any], None]:
        return self._say
