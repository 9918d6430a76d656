"""Memory that several threads take and give back: each waits until there is room for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argus_trainer.errors import ConfigurationError


class NoRoom(ConfigurationError):
    """An object that alone takes more than there is."""

    def __init__(self, name: str, *, needed: int, room: int) -> None:
        super().__init__(
            f"{name} takes about {_mebibytes(needed)} while its rows are decoded, and "
            f"training.memoryBudget leaves {_mebibytes(room)} for that: set "
            f"training.memoryBudget to at least {_mebibytes(2 * needed)}, or write its rows "
            "as smaller objects (argus import does)"
        )
        self.name = name
        self.needed = needed
        """Bytes."""
        self.room = room
        """Bytes."""


class Room:
    """So many bytes for all that is decoded at once."""

    def __init__(self, max_bytes: int | None) -> None:
        """None: no limit."""
        self._max_bytes = max_bytes
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def of(self, num_bytes: int, name: str) -> Iterator[None]:
        """Holds room for so many bytes of the object of this name.

        Raises NoRoom when it would never have any.
        """
        limit = self._max_bytes
        if limit is not None and num_bytes > limit:
            raise NoRoom(name, needed=num_bytes, room=limit)
        with self._changed:
            self._changed.wait_for(lambda: limit is None or self._used + num_bytes <= limit)
            self._used += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._used -= num_bytes
                self._changed.notify_all()


def _mebibytes(count: int) -> str:
    return f"{-(-count // 2**20)}Mi"
