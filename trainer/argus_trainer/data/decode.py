"""Bytes of one pinned chunk become columns: only those that are needed, times as seconds.

`pyarrow.parquet.ParquetFile` over bytes that were fetched as a whole is about ten times as
fast as Arrow's Dataset over a remote file system.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from argus_contract.plan import PinnedObject
from argus_trainer.data.schema import PROFILE, SERVER, STATUS, TIMESTAMP
from argus_trainer.errors import ChangedError, DataError
from argus_trainer.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A text column: codes into its own values."""

    codes: NDArray[np.int64]
    """[n]; -1 where the row has none."""
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Rows of one chunk, in the order of the file."""

    seconds: NDArray[np.int64]
    """[n] seconds since 1970; a second's fraction is cut off."""
    servers: Labels
    status: Labels | None
    profiles: Labels | None
    values: NDArray[np.float64]
    """[n, metrics], NaN where there is none or where it is not finite."""


@dataclass(frozen=True, kw_only=True)
class Present:
    """What a chunk offers."""

    numeric: tuple[str, ...]
    has_status: bool
    has_profile: bool


class ChunkFile:
    """One fetched chunk."""

    def __init__(self, store: Store, pinned: PinnedObject) -> None:
        """Fetches the object. Raises DataError when it is not the pinned one or no Parquet."""
        self.name = f"{store.uri}/{pinned.key}"
        content = store.get(pinned.key, etag=pinned.etag)
        if len(content) != pinned.size:
            raise ChangedError(
                f"{self.name} changed under the run: it has {len(content)} bytes and had "
                f"{pinned.size}; restore it, or start a new run with another runToken"
            )
        try:
            self._file = pq.ParquetFile(pa.BufferReader(content))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.name} is no Parquet file: {error}: write it again") from error
        self._schema: pa.Schema = self._file.schema_arrow

    def present(self) -> Present:
        """Returns the columns that are there."""
        numeric = tuple(
            field.name
            for field in self._schema
            if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        )
        return Present(
            numeric=numeric,
            has_status=STATUS in self._schema.names,
            has_profile=PROFILE in self._schema.names,
        )

    def columns(self, metrics: Sequence[str], *, status: bool, profile: bool) -> Columns:
        """Decodes the named metrics and labels. Raises DataError for one that is missing."""
        labels = [STATUS] * status + [PROFILE] * profile
        wanted = [TIMESTAMP, SERVER, *labels, *metrics]
        missing = [name for name in wanted if name not in self._schema.names]
        if missing:
            raise DataError(
                f"{self.name} has no column {', '.join(missing)}; it has "
                f"{', '.join(self._schema.names)}: all chunks of a dataset need the same columns"
            )
        try:
            table = self._file.read(columns=wanted)
            return Columns(
                seconds=self._seconds(table.column(TIMESTAMP)),
                servers=self._servers(table),
                status=_labels(table.column(STATUS)) if status else None,
                profiles=_labels(table.column(PROFILE)) if profile else None,
                values=_values(table, metrics),
            )
        except pa.ArrowException as error:
            raise DataError(f"{self.name} cannot be decoded: {error}: write it again") from error

    def _servers(self, table: pa.Table) -> Labels:
        servers = _labels(table.column(SERVER))
        if (servers.codes < 0).any():
            raise DataError(f"{self.name}: a row has no {SERVER}: write the chunk again")
        return servers

    def _seconds(self, column: "pa.ChunkedArray[Any]") -> NDArray[np.int64]:
        if column.null_count:
            raise DataError(f"{self.name}: a row has no {TIMESTAMP}: write the chunk again")
        if not pa.types.is_timestamp(column.type):
            column = pc.cast(column, pa.timestamp("us", tz="UTC"))
        whole = pc.floor_temporal(column, unit="second")
        seconds: NDArray[np.int64] = whole.cast(pa.timestamp("s")).cast(pa.int64()).to_numpy()
        return seconds


def _labels(column: "pa.ChunkedArray[Any]") -> Labels:
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    array: Any = column.combine_chunks()
    codes = pc.fill_null(array.indices, -1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return Labels(codes=codes, values=tuple(str(value) for value in array.dictionary.to_pylist()))


def _values(table: pa.Table, metrics: Sequence[str]) -> NDArray[np.float64]:
    values = np.empty((table.num_rows, len(metrics)))
    for index, name in enumerate(metrics):
        column = table.column(name).cast(pa.float64())
        values[:, index] = column.to_numpy()
    values[~np.isfinite(values)] = np.nan
    return values
