"""One chunk becomes columns: only those that are needed, in Argus's names and units.

A file is decoded row group by row group into arrays of the whole, so at most one row group
is held beside them; a large one even column by column. What a row lacks to be a row (a time,
a server) and what is no number is counted, never skipped silently.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import IOBase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from argus_contract.data_spec import NO_METRICS
from argus_trainer.data.clock import MICROS, has_time, instants
from argus_trainer.data.footers import stated_seconds
from argus_trainer.data.labels import Labels, joined, labels
from argus_trainer.data.rules import Rules
from argus_trainer.data.schema import METRICS, PROFILE, SERVER, STATUS, TIMESTAMP
from argus_trainer.errors import DataError
from argus_trainer.storage.store import ReadOnly

LARGEST = float(np.finfo(np.float32).max)
"""The model computes in float32."""
LARGE = 64 << 20
"""Decoded bytes above which row groups are not read together, and columns one by one."""
NUMBERS_PER_ROW, NUMBERS_PER_VALUE = 14, 1.25
"""Of eight bytes each that exist at once while an object's statistics are made: times, labels
and places of a row, its values and copies of some of them. Measured: 13 and 1.1."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Rows of one chunk, in the order of the file, without those that take no part."""

    micros: NDArray[np.int64]
    """[n] microseconds since 1970."""
    servers: Labels
    status: Labels | None
    profiles: Labels | None
    values: NDArray[np.float64]
    """[n, metrics] in Argus's units, NaN where there is none or where it is not finite; each
    column is contiguous, which makes filling it six times as fast."""
    without_time: int = 0
    """Rows left out, as they have no time."""
    without_server: int = 0
    """Rows left out, as they have a time and no server's name."""
    not_chosen: int = 0
    """Rows left out by `data.servers`."""
    not_finite: int = 0
    """Values that are NaN, infinite or beyond LARGEST: they count as none."""
    late: int = 0
    """Rows from before the object's time that were left out where rows are gathered."""
    future: int = 0
    """The same, from after it."""
    duplicates: int = 0
    """Rows that another one of their server and time replaced where rows are gathered."""

    def at(self, rows: NDArray[np.int64]) -> "Columns":
        """Returns some of the rows, with all counts."""
        return replace(
            self,
            micros=self.micros[rows],
            servers=self.servers.at(rows),
            status=self.status and self.status.at(rows),
            profiles=self.profiles and self.profiles.at(rows),
            values=self.values.T.take(rows, axis=1).T,
        )


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """What says of some rows whose and of when they are."""

    micros: NDArray[np.int64]
    labels: Mapping[str, Labels]
    kept: NDArray[np.int64] | None
    """Indices of the rows that take part among those of the piece; None: all."""
    without_time: int
    without_server: int
    not_chosen: int


@dataclass(frozen=True, kw_only=True)
class Present:
    """What a chunk offers, in Argus's names."""

    numeric: tuple[str, ...]
    has_status: bool
    has_profile: bool


def _arrow_file(content: ReadOnly | IOBase) -> pa.NativeFile:
    if isinstance(content, bytes | memoryview):
        return pa.BufferReader(content)
    return pa.PythonFile(content, mode="r")


class ChunkFile:
    """One fetched chunk."""

    def __init__(self, name: str, content: ReadOnly | IOBase, rules: Rules) -> None:
        """`name` is the object's address, for messages; `content` its bytes or a file of them.

        Raises DataError when it is no Parquet.
        """
        self.name = name
        self._rules = rules
        self._source = _arrow_file(content)
        try:
            self._file = pq.ParquetFile(self._source, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{name} is no Parquet file: {error}: write it again") from error
        self._schema: pa.Schema = self._file.schema_arrow

    @cached_property
    def _names(self) -> dict[str, str]:
        """Argus's name to the file's."""
        return self._rules.names_in(self.name, self._schema.names)

    def present(self) -> Present:
        """Returns the columns that are there.

        Raises DataError for a metric of the guide, or one that `data.columns` lists, whose
        column holds no numbers.
        """
        known = {*METRICS, *self._rules.metrics}
        return Present(
            numeric=tuple(
                name
                for name in self._names
                if name not in NO_METRICS
                and (self._is_numeric(name) or (name in known and self._refuse(name)))
            ),
            has_status=STATUS in self._names,
            has_profile=PROFILE in self._names,
        )

    def decoding_bytes(self, num_metrics: int, within: tuple[int, int] | None = None) -> int:
        """Returns about how much memory it takes to decode so many metrics and count them.

        Of rows that are within a part of a row group's time it is taken that they lie evenly.
        """
        metadata = self._file.metadata
        rows, largest = 0.0, 0
        for group in self._groups(within):
            num_rows = metadata.row_group(group).num_rows
            rows += num_rows * self._share(group, within)
            largest = max(largest, num_rows)
        as_arrow = 8 * (num_metrics + 3)
        # What Arrow holds beside them: a large row group comes column by column.
        piece = max(min(LARGE, as_arrow * metadata.num_rows), 6 * 8 * largest)
        a_row = 8 * (NUMBERS_PER_ROW + NUMBERS_PER_VALUE * num_metrics)
        return round(a_row * rows) + min(piece, as_arrow * metadata.num_rows)

    def columns(
        self,
        metrics: Sequence[str],
        *,
        status: bool,
        profile: bool,
        within: tuple[int, int] | None = None,
    ) -> Columns:
        """Decodes the named metrics and labels.

        `within` are microseconds [start, end): other rows take no part and are not counted, and
        row groups that state other times are not read.
        Raises DataError for a column that is missing, is there twice, or holds something else.
        """
        wanted = [TIMESTAMP, SERVER, *[STATUS] * status, *[PROFILE] * profile, *metrics]
        self._check(wanted)
        for name in metrics:
            if not self._is_numeric(name):
                self._refuse(name)
        try:
            return self._decoded(metrics, status=status, profile=profile, within=within)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.name} cannot be decoded: {error}: write it again") from error

    def _decoded(
        self,
        metrics: Sequence[str],
        *,
        status: bool,
        profile: bool,
        within: tuple[int, int] | None,
    ) -> Columns:
        text = [SERVER, *[STATUS] * status, *[PROFILE] * profile]
        file = self._with_dictionaries(text)
        wanted = self._groups(within)
        num_rows = sum(file.metadata.row_group(group).num_rows for group in wanted)
        # Pages of rows that do not take part are never touched.
        values = np.empty((len(metrics), num_rows)).T
        parts: list[_Rows] = []
        at = not_finite = 0
        for groups in _pieces(file.metadata, wanted, 1 + len(text) + len(metrics)):
            column_of = self._reader(file, groups, (TIMESTAMP, *text, *metrics))
            part = self._rows({name: column_of(name) for name in (TIMESTAMP, *text)}, within)
            end = at + len(part.micros)
            for index, name in enumerate(metrics):
                numbers, odd = self._numbers(column_of(name), name)
                not_finite += odd
                values[at:end, index] = numbers if part.kept is None else numbers[part.kept]
            at = end
            parts.append(part)
        return Columns(
            micros=np.concatenate([np.empty(0, dtype=np.int64), *(part.micros for part in parts)]),
            servers=joined([part.labels[SERVER] for part in parts]),
            status=joined([part.labels[STATUS] for part in parts]) if status else None,
            profiles=joined([part.labels[PROFILE] for part in parts]) if profile else None,
            values=values[:at],
            without_time=sum(part.without_time for part in parts),
            without_server=sum(part.without_server for part in parts),
            not_chosen=sum(part.not_chosen for part in parts),
            not_finite=not_finite,
        )

    def _groups(self, within: tuple[int, int] | None) -> list[int]:
        """Returns the row groups that may hold rows of this time."""
        metadata = self._file.metadata
        groups = range(metadata.num_row_groups)
        if within is None:
            return list(groups)
        stated = [stated_seconds(metadata, group, self._names[TIMESTAMP]) for group in groups]
        start, end = (instant / MICROS for instant in within)
        return [
            group
            for group, times in zip(groups, stated, strict=True)
            if times is None or (times[1] + 1 > start and times[0] < end)
        ]

    def _share(self, group: int, within: tuple[int, int] | None) -> float:
        """Returns the share of a row group's time that is within; 1 where it says no time."""
        if within is None:
            return 1.0
        times = stated_seconds(self._file.metadata, group, self._names[TIMESTAMP])
        if times is None:
            return 1.0
        first, end = times[0], times[1] + 1
        inside = min(end, within[1] / MICROS) - max(first, within[0] / MICROS)
        return min(1.0, inside / (end - first))

    def _with_dictionaries(self, text: Sequence[str]) -> pq.ParquetFile:
        """Returns the file so that text comes as codes, as it is stored: ten times as fast."""
        return pq.ParquetFile(
            self._source,
            metadata=self._file.metadata,
            page_checksum_verification=True,
            read_dictionary=[self._names[name] for name in text if self._is_text(name)],
        )

    def _reader(
        self, file: pq.ParquetFile, groups: list[int], names: Sequence[str]
    ) -> "Callable[[str], pa.ChunkedArray[Any]]":
        """Returns a function that reads one of these columns; small groups are read at once."""
        own = self._names
        if _num_bytes(file.metadata, groups, len(names)) > LARGE:
            return lambda name: file.read_row_groups(groups, columns=[own[name]]).column(0)
        table = file.read_row_groups(groups, columns=[own[name] for name in names])
        return lambda name: table.column(own[name])

    def _rows(
        self, columns: "Mapping[str, pa.ChunkedArray[Any]]", within: tuple[int, int] | None
    ) -> "_Rows":
        """Returns the rows that have a time and a server that takes part."""
        times = columns[TIMESTAMP]
        timed = has_time(times)
        servers = labels(columns[SERVER], self._at(SERVER))
        chosen = np.array([self._rules.takes_part(name) for name in servers.values] + [False])
        named = servers.codes >= 0
        keep = timed & chosen[servers.codes]
        kept = None if keep.all() else np.flatnonzero(keep)
        micros = instants(times if kept is None else times.take(kept), self._at(TIMESTAMP))
        if within is not None:
            here = np.flatnonzero((micros >= within[0]) & (micros < within[1]))
            if len(here) < len(micros):
                micros, kept = micros[here], here if kept is None else kept[here]
        others = [name for name in (STATUS, PROFILE) if name in columns]
        found = {SERVER: servers}
        found |= {name: labels(columns[name], self._at(name)) for name in others}
        return _Rows(
            micros=micros,
            labels=found if kept is None else {name: x.at(kept) for name, x in found.items()},
            kept=kept,
            without_time=int(np.count_nonzero(~timed)),
            without_server=int(np.count_nonzero(timed & ~named)),
            not_chosen=int(np.count_nonzero(timed & named & ~keep)),
        )

    def _numbers(
        self, column: "pa.ChunkedArray[Any]", name: str
    ) -> tuple[NDArray[np.float64], int]:
        """Returns a metric in Argus's unit, NaN where there is no number; how many were none.

        What float32, in which the model computes, does not hold is as good as infinite. Whole
        numbers that float64 does not hold (above 2**53) are rounded to it.
        """
        numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
        if name in self._rules.factors:
            with np.errstate(over="ignore"):
                numbers = numbers * self._rules.factors[name]
        finite = np.abs(numbers) <= LARGEST
        odd = len(numbers) - int(np.count_nonzero(finite)) - column.null_count
        return (np.where(finite, numbers, np.nan) if odd else numbers), odd

    def _at(self, name: str) -> str:
        return f"{self.name}: column {self._names[name]}"

    def _check(self, wanted: Sequence[str]) -> None:
        names = self._schema.names
        missing = [name for name in wanted if name not in self._names]
        if missing:
            raise DataError(
                f"{self.name} has no column {', '.join(missing)}; it has {', '.join(names)}: "
                "all chunks of a dataset need the same columns"
            )
        for name in wanted:
            if names.count(self._names[name]) > 1:
                raise DataError(
                    f"{self.name} has column {self._names[name]} twice: rename one of them"
                )

    def _type(self, name: str) -> pa.DataType:
        return self._schema.types[self._schema.names.index(self._names[name])]

    def _is_text(self, name: str) -> bool:
        return bool(
            pa.types.is_string(self._type(name)) or pa.types.is_large_string(self._type(name))
        )

    def _is_numeric(self, name: str) -> bool:
        kind, types = self._type(name), pa.types
        return bool(
            types.is_integer(kind)
            or types.is_floating(kind)
            or types.is_decimal(kind)
            or types.is_boolean(kind)
            or types.is_null(kind)
        )

    def _refuse(self, name: str) -> bool:
        raise DataError(
            f"{self._at(name)} is {self._type(name)}, and {name} is a metric: write it as numbers"
        )


def _pieces(metadata: pq.FileMetaData, wanted: Sequence[int], num_columns: int) -> list[list[int]]:
    """Returns these row groups, those together that are small together."""
    pieces: list[list[int]] = []
    for group in wanted:
        if pieces and _num_bytes(metadata, [*pieces[-1], group], num_columns) <= LARGE:
            pieces[-1].append(group)
        else:
            pieces.append([group])
    return pieces


def _num_bytes(metadata: pq.FileMetaData, groups: Sequence[int], num_columns: int) -> int:
    rows = sum(metadata.row_group(group).num_rows for group in groups)
    return 8 * rows * num_columns
