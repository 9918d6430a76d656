"""Memory that several threads take and give back: each waits until there is room for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argus_trainer.errors import ConfigurationError


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

        Raises ConfigurationError when it would never have room.
        """
        limit = self._max_bytes
        if limit is not None and num_bytes > limit:
            raise ConfigurationError(
                f"{name} takes about {_mebibytes(num_bytes)} while its rows are decoded, and "
                f"training.memoryBudget leaves {_mebibytes(limit)} for that: set "
                f"training.memoryBudget to at least {_mebibytes(2 * num_bytes)}, or write its rows "
                "as smaller objects (argus import does)"
            )
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
