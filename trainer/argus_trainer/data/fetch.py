"""Objects of a plan from the store: many requests at once, in order, within a number of bytes.

The first byte of an object takes 100 ms on S3 and the rest of a chunk nothing, so requests
overlap. What is on its way and what waits to be taken counts against one limit. A reader that
is closed leaves a request of an outage behind rather than wait for it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from types import TracebackType
from typing import Self

from argus_contract.plan import PinnedObject
from argus_trainer.data.remote_file import RemoteFile
from argus_trainer.errors import DataError
from argus_trainer.storage.daemons import Daemons
from argus_trainer.storage.store import ReadOnly, Source

NUM_THREADS = 16
LARGE_BYTES = 64 << 20
"""An object above it is never held whole; it is read piece by piece while it is decoded."""
CHECK_SECONDS = 0.2
"""How often a wait calls `check`."""

Content = ReadOnly | RemoteFile
"""An object: its bytes, or, when it is large, a file that reads them on demand."""


def _go_on() -> None:
    return None


class Fetcher:
    """Reads pinned objects. Safe to use from several threads; close it, or use it with `with`.

    In each iteration of `ordered` the bytes on their way and those that wait to be taken stay
    within `max_bytes`, or are those of one object. What was taken is the taker's.
    """

    def __init__(self, source: Source, *, max_bytes: int, num_threads: int = NUM_THREADS) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._most_waiting = 4 * num_threads
        self._requests = Daemons(num_threads, "argus-fetch")

    @property
    def source(self) -> Source:
        return self._source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Begins no request any more. Does not wait for those that are on their way."""
        self._requests.close()

    def fetch(self, pinned: PinnedObject) -> Content:
        """Returns one object, in the calling thread.

        Raises DataError naming the object when it is not the pinned one, and what the source
        raises.
        """
        if pinned.size > LARGE_BYTES:
            return RemoteFile(self._source, pinned)
        content = self._source.get(pinned.key, etag=pinned.etag)
        if len(content) != pinned.size:
            raise DataError(
                f"{self._source.uri}/{pinned.key} changed under the run: it has {len(content)} "
                f"bytes and had {pinned.size}; restore it, or plan anew: another runToken in a "
                "cluster, --fresh on the command line"
            )
        return content

    def ordered(
        self, objects: Iterable[PinnedObject], *, check: Callable[[], None] = _go_on
    ) -> Iterator[tuple[PinnedObject, Content]]:
        """Yields the objects with their content, in the order given.

        While it waits it calls `check` five times a second, which may raise. An error of an
        object comes at its place; requests that were not begun are dropped with the iteration.
        """
        todo = iter(objects)
        upcoming = next(todo, None)
        waiting: deque[tuple[PinnedObject, Future[Content]]] = deque()
        held = 0
        try:
            while upcoming or waiting:
                while (
                    upcoming
                    and len(waiting) < self._most_waiting
                    and (not waiting or held + _held(upcoming) <= self._max_bytes)
                ):
                    waiting.append((upcoming, self._requests.submit(partial(self.fetch, upcoming))))
                    held += _held(upcoming)
                    upcoming = next(todo, None)
                pinned, reply = waiting[0]
                while not wait([reply], timeout=CHECK_SECONDS).done:
                    check()
                waiting.popleft()
                held -= _held(pinned)
                # Nothing here may keep what is the taker's from now on.
                taken = [(pinned, reply.result())]
                del reply
                yield taken.pop()
        finally:
            for _, reply in waiting:
                reply.cancel()


def _held(pinned: PinnedObject) -> int:
    return 0 if pinned.size > LARGE_BYTES else pinned.size
