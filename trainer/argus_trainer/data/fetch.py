"""Objects of a plan from the store: many requests at once, in order, within a number of bytes.

The first byte of an object takes 100 ms on S3 and the rest of a chunk nothing, so requests
overlap. What is on its way and what waits to be taken counts against one limit. A reader that
is closed leaves a request of an outage behind rather than wait for it.

An object that reaches into several chunks is asked for once for each: it stays as long as there
is room, or is read row group by row group.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from functools import partial
from types import TracebackType
from typing import Self

from argus_contract.plan import PinnedObject
from argus_trainer.data.kept_contents import KeptContents
from argus_trainer.data.pins import MOST_CHANGES, Pins, changing, gone, look
from argus_trainer.data.remote_file import RemoteFile
from argus_trainer.errors import ObjectChanged, ObjectNotFound
from argus_trainer.storage.daemons import Daemons
from argus_trainer.storage.store import ReadOnly, Source, changed

NUM_THREADS = 16
LARGE_BYTES = 64 << 20
"""An object above it is never held whole; it is read piece by piece while it is decoded."""
LARGE_SLICED_BYTES = 4 << 20
"""The same for an object of several chunks that cannot stay: below, reading it whole takes less
time than one more request."""
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

    def __init__(
        self,
        source: Source,
        *,
        max_bytes: int,
        slice_bytes: int = 0,
        num_threads: int = NUM_THREADS,
        pins: Pins | None = None,
    ) -> None:
        """With `pins` an object that changed is taken as it is now, once that is recorded.

        Objects of several chunks stay within `slice_bytes`.
        """
        self._source = source
        self._slices = KeptContents(slice_bytes)
        self._pins = pins
        self._max_bytes = max_bytes
        self._most_waiting = 4 * num_threads
        self._requests = Daemons(num_threads, "argus-fetch")

    @property
    def source(self) -> Source:
        return self._source

    @property
    def inexact_reason(self) -> str | None:
        """Why what is fetched is not what was planned, or None while it is."""
        return self._pins.reason if self._pins else None

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

        Raises ObjectChanged naming the object when it is not the pinned one, ObjectNotFound
        when it is gone, and what the source raises.
        """
        if self._pins is None:
            return self._fetch(pinned)
        for _ in range(MOST_CHANGES):
            current = self._pins.newest(pinned)
            try:
                return self._fetch(current)
            except ObjectChanged:
                self._pins.record(current, look(self._source, current))
        raise changing(self._source, pinned)

    def _fetch(self, pinned: PinnedObject) -> Content:
        if pinned.sliced and self._slices.has_room_for(pinned):
            return self._slices.get(pinned, self._whole)
        return self._remote(pinned) if self._is_remote(pinned) else self._whole(pinned)

    def _is_remote(self, pinned: PinnedObject) -> bool:
        if pinned.sliced and self._slices.has_room_for(pinned):
            return False
        return pinned.size > (LARGE_SLICED_BYTES if pinned.sliced else LARGE_BYTES)

    def _remote(self, pinned: PinnedObject) -> RemoteFile:
        try:
            # So that a change is found now, and not in the middle of its rows.
            self._source.get_range(pinned.key, 0, 1, etag=pinned.etag)
        except ObjectNotFound as error:
            raise ObjectNotFound(gone(self._source, pinned)) from error
        return RemoteFile(self._source, pinned)

    def _whole(self, pinned: PinnedObject) -> ReadOnly:
        try:
            content = self._source.get(pinned.key, etag=pinned.etag)
        except ObjectNotFound as error:
            raise ObjectNotFound(gone(self._source, pinned)) from error
        if len(content) != pinned.size:
            address = f"{self._source.uri}/{pinned.key}"
            raise changed(address, found=len(content), was=pinned.size, what="size in bytes")
        return content

    def ordered(
        self, objects: Iterable[PinnedObject], *, check: Callable[[], None] = _go_on
    ) -> Generator[tuple[PinnedObject, Content], None, None]:
        """Yields the objects, as they count now, with their content, in the order given.

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
                    and (not waiting or held + self._held(upcoming) <= self._max_bytes)
                ):
                    waiting.append((upcoming, self._requests.submit(partial(self.fetch, upcoming))))
                    held += self._held(upcoming)
                    upcoming = next(todo, None)
                pinned, reply = waiting[0]
                while not wait([reply], timeout=CHECK_SECONDS).done:
                    check()
                waiting.popleft()
                held -= self._held(pinned)
                # Nothing here may keep what is the taker's from now on.
                content = reply.result()
                taken = [(self._pins.newest(pinned) if self._pins else pinned, content)]
                del content
                del reply
                yield taken.pop()
        finally:
            for _, reply in waiting:
                reply.cancel()

    def _held(self, pinned: PinnedObject) -> int:
        return 0 if self._is_remote(pinned) else pinned.size
