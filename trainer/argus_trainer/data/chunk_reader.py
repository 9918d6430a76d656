"""Columns of any object of a plan, complete on the object's own steps.

As recorded, an object is read by itself. Gathered onto a grid (`data.cadenceSeconds`), the
first steps of an object also take rows of objects before it, and objects of one time share
their steps: so its neighbours are read too, and each step is told by one object, the last one
in the plan whose time holds the step's end. The same rows in other files give the same steps.
Read in order, a neighbour's rows are still at hand; read from anywhere, it is fetched again.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from argus_contract.plan import PinnedObject
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

    def of(self, index: int) -> tuple[int, ...]:
        """Returns the objects whose rows an object's steps are made of, itself included."""
        if not self._reach:
            return (index,)
        start, end = self.times[index]
        first = bisect_left(self._starts, start - self._reach - self._longest)
        stop = bisect_left(self._starts, end)
        return tuple(
            other for other in range(first, stop) if self.times[other][1] > start - self._reach + 1
        )

    def identity(self, index: int) -> PinnedObject:
        """Returns the object, under an ETag that also tells the neighbours it is read with."""
        etags = [self._objects[other].etag for other in self.of(index)]
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
        """Of the object that is expected next: its number, and rows of its neighbours."""

    def open(self, index: int, content: Content) -> ChunkFile:
        """Returns an object with this content. Raises DataError when it is no Parquet."""
        return ChunkFile(f"{self._uri}/{self._objects[index].key}", content, self._rules)

    def columns(self, index: int, file: ChunkFile) -> Columns:
        """Returns the columns of an object that was opened.

        Rows outside the object's own time are left out and counted when rows are gathered.
        Raises what `ChunkFile` raises, and ConfigurationError for an object that begins or
        ends inside a step of `data.cadenceSeconds`.
        """
        own = self._decoded(file)
        if not self._reach:
            return own
        self._check_borders(index)
        own = self._in_own_time(index, own)
        expected, kept = self._kept
        if expected != index:
            kept = {}
        parts = {
            other: own if other == index else kept.get(other) or self._neighbour(other)
            for other in self._sources.of(index)
        }
        self._keep(index + 1, parts)
        start, end = self._times[index]
        # The steps of [start, end) are made of the rows up to and with the last one's end.
        rows = [
            between(part, start - self._reach + 1, end - self._reach + 1)
            for _, part in sorted(parts.items())
        ]
        mine = self._without_later(index, stacked(rows, counted=own))
        return gathered(mine, self._metrics, self._rules)

    def _decoded(self, file: ChunkFile) -> Columns:
        return file.columns(self._metrics, status=self._status, profile=self._profile)

    def _neighbour(self, index: int) -> Columns:
        file = self.open(index, self._fetch(self._objects[index]))
        return self._in_own_time(index, self._decoded(file))

    def _in_own_time(self, index: int, columns: Columns) -> Columns:
        start, end = self._times[index]
        return replace(
            between(columns, start, end),
            late=int(np.count_nonzero(columns.micros < start)),
            future=int(np.count_nonzero(columns.micros >= end)),
        )

    def _without_later(self, index: int, columns: Columns) -> Columns:
        """Leaves steps to the last object whose time holds their end."""
        steps = -(-columns.micros // self._reach) * self._reach
        mine = np.ones(len(steps), dtype=np.bool_)
        for other in self._sources.of(index):
            if other > index:
                start, end = self._times[other]
                mine &= (steps < start) | (steps >= end)
        return columns if mine.all() else columns.at(np.flatnonzero(mine))

    def _keep(self, index: int, parts: dict[int, Columns]) -> None:
        """Keeps what an object will need if it is read next."""
        kept = {}
        if index < len(self._objects):
            needed = self._times[index][0] - self._reach + 1
            for other in self._sources.of(index):
                if other in parts:
                    rows = between(parts[other], needed, self._times[other][1])
                    # Not a view: it would hold all rows of the object.
                    kept[other] = replace(rows, values=rows.values.copy())
        self._kept = (index, kept)

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
