"""Columns of any object of a plan, complete on the object's own steps.

As recorded, an object is read by itself. Gathered onto a grid (`data.cadenceSeconds`), the
objects of one chunk share their steps, and the first of these also take rows of the chunk
before. So all steps of a chunk are told by one object, the last of the chunk in the plan, from
the rows of all of them; the others tell none. The same rows in other files give the same steps.
Read in order, each object is decoded once: the rows of those before are still at hand. Read
from anywhere, they are fetched again.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from argus_contract.plan import PinnedObject
from argus_trainer.data.cadence import MOST_SECONDS
from argus_trainer.data.clock import MICROS
from argus_trainer.data.decode import ChunkFile, Columns
from argus_trainer.data.fetch import Content
from argus_trainer.data.resample import between, gathered, stacked
from argus_trainer.data.rules import Rules
from argus_trainer.errors import ConfigurationError


class Sources:
    """Which objects the steps of each object of a plan are made of."""

    def __init__(self, objects: Sequence[PinnedObject], rules: Rules) -> None:
        self._objects = objects
        self._reach = rules.cadence_seconds * MICROS
        self.times = [(_micros(pinned.start), _micros(pinned.end)) for pinned in objects]
        """First microsecond of each object, and the first after it."""
        self._starts = [start for start, _ in self.times]
        self._longest = max((end - start for start, end in self.times), default=0)

    def within(self, index: int) -> tuple[int, int] | None:
        """Returns the microseconds that are read of an object; None: all that it holds.

        Of an object that other entries read too, only what can be of this one's steps.
        """
        if not self._objects[index].sliced:
            return None
        start, end = self.times[index]
        # As recorded, a step may reach beyond the chunk that tells it.
        more = 0 if self._reach else MOST_SECONDS * MICROS
        return start - more, end + more

    def teller(self, index: int) -> int:
        """Returns the object that tells the steps of this object's chunk."""
        return bisect_right(self._starts, self.times[index][0]) - 1 if self._reach else index

    def of(self, index: int) -> tuple[int, ...]:
        """Returns the objects whose rows an object's steps are made of, itself included."""
        if self.teller(index) != index or not self._reach:
            return (index,)
        start, end = self.times[index]
        first = bisect_left(self._starts, start - self._reach - self._longest)
        stop = bisect_left(self._starts, end)
        return tuple(
            other for other in range(first, stop) if self.times[other][1] > start - self._reach + 1
        )

    def identity(self, index: int) -> PinnedObject:
        """Returns the object, under an ETag that also tells what it is read with."""
        if not self._reach:
            return self._objects[index]
        etags = [self._objects[other].etag for other in self.of(index)]
        if self.teller(index) != index:
            etags.append("rows only")
        return self._objects[index].model_copy(update={"etag": " ".join(etags)})


class ChunkReader:
    """Reads the objects of one plan with fixed columns, in any order, from any thread."""

    def __init__(
        self,
        uri: str,
        objects: Sequence[PinnedObject],
        rules: Rules,
        fetch: Callable[[PinnedObject], Content],
        metrics: Sequence[str],
        *,
        status: bool,
        profile: bool,
    ) -> None:
        """`fetch` returns the content of a neighbour that is not at hand."""
        self._uri, self._objects, self._rules, self._fetch = uri, objects, rules, fetch
        self._metrics, self._status, self._profile = tuple(metrics), status, profile
        self._reach = rules.cadence_seconds * MICROS
        self._sources = Sources(objects, rules)
        self._times = self._sources.times
        self._kept: tuple[int, dict[int, Columns]] = (-1, {})
        """The number of the object that is expected next, and rows of those before it."""

    @property
    def held_bytes(self) -> int:
        """Memory of the rows that are at hand for the next object."""
        _, parts = self._kept
        return sum(part.values.nbytes + 3 * part.micros.nbytes for part in parts.values())

    def open(self, index: int, content: Content) -> ChunkFile:
        """Returns an object with this content. Raises DataError when it is no Parquet."""
        return ChunkFile(f"{self._uri}/{self._objects[index].key}", content, self._rules)

    def columns(self, index: int, file: ChunkFile) -> Columns:
        """Returns the columns of an object that was opened.

        Rows outside the object's own time are left out and counted when rows are gathered.
        Raises what `ChunkFile` raises, and ConfigurationError for an object that begins or
        ends inside a step of `data.cadenceSeconds`.
        """
        own = self._decoded(index, file)
        if not self._reach:
            return own
        self._check_borders(index)
        own = self._in_own_time(index, own)
        expected, parts = self._kept
        if expected != index:
            parts = {}
        parts[index] = own
        if self._sources.teller(index) != index:
            self._kept = index + 1, parts
            return own.at(np.empty(0, dtype=np.int64))
        for other in self._sources.of(index):
            if other not in parts:
                parts[other] = self._neighbour(other)
        start, end = self._times[index]
        # The steps of [start, end) are made of the rows up to and with the last one's end.
        rows = [
            between(part, start - self._reach + 1, end - self._reach + 1)
            for _, part in sorted(parts.items())
        ]
        self._kept = index + 1, self._tail(index + 1, parts)
        return gathered(stacked(rows, counted=own), self._metrics, self._rules)

    def _decoded(self, index: int, file: ChunkFile) -> Columns:
        within = self._sources.within(index)
        return file.columns(
            self._metrics, status=self._status, profile=self._profile, within=within
        )

    def _neighbour(self, index: int) -> Columns:
        file = self.open(index, self._fetch(self._objects[index]))
        return self._in_own_time(index, self._decoded(index, file))

    def _in_own_time(self, index: int, columns: Columns) -> Columns:
        start, end = self._times[index]
        return replace(
            between(columns, start, end),
            late=int(np.count_nonzero(columns.micros < start)),
            future=int(np.count_nonzero(columns.micros >= end)),
        )

    def _tail(self, index: int, parts: dict[int, Columns]) -> dict[int, Columns]:
        """Returns the rows of a chunk that the next one, which begins with this object, needs."""
        if index == len(self._objects):
            return {}
        needed = self._times[index][0] - self._reach + 1
        return {
            other: between(part, needed, self._times[other][1])
            for other, part in parts.items()
            if self._times[other][1] > needed
        }

    def _check_borders(self, index: int) -> None:
        start, end = self._times[index]
        if start % self._reach or end % self._reach:
            pinned = self._objects[index]
            raise ConfigurationError(
                f"data.cadenceSeconds {self._rules.cadence_seconds}: {self._uri}/{pinned.key} "
                f"holds the time from {pinned.start:%Y-%m-%dT%H:%M:%SZ} to "
                f"{pinned.end:%Y-%m-%dT%H:%M:%SZ}, which is not cut between steps: use a divisor "
                "of the chunks' length"
            )


def _micros(instant: datetime) -> int:
    return round(instant.timestamp() * MICROS)
