"""Imports a user's files as one fleet: read, align, cut into chunks, write."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from argus_trainer.data.chunk_files import (
    CHUNK_SECONDS,
    Chunk,
    Written,
    check_cadence,
    chunk_end,
    chunk_name,
    write_dataset,
)
from argus_trainer.data.schema import METRICS, SERVER, TIMESTAMP
from argus_trainer.errors import DataError, UsageError
from argus_trainer.ingest.align import align
from argus_trainer.ingest.read import LABELS, Reading, read_rows
from argus_trainer.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was written, and what the input was like."""

    written: Written
    servers: int
    metrics: tuple[str, ...]
    repeated: int
    merged: int
    without_time: int


def _refuse_one_name_for_two(sources: Sequence[Path], reading: Reading) -> None:
    """Two files whose names make one server would overwrite each other's rows."""
    if reading.server_column is not None:
        return
    first: dict[str, Path] = {}
    for path in sources:
        if path.stem in first:
            raise UsageError(
                f"{first[path.stem]} and {path} would both be server {path.stem!r}: rename one, or "
                "name the server in a column (--server-column)"
            )
        first[path.stem] = path


def import_metrics(
    sources: Sequence[Path], output: Store, reading: Reading, *, cadence_seconds: int = 300
) -> Imported:
    """Writes the rows of all `sources` to `output` in the layout of the training guide.

    Raises UsageError for options, DataError for input that cannot be read.
    """
    check_cadence(cadence_seconds)
    if not sources:
        raise UsageError("name at least one CSV or Parquet file")
    _refuse_one_name_for_two(sources, reading)
    frames = [read_rows(path, reading) for path in sources]
    aligned = align(pd.concat(frames, ignore_index=True), cadence_seconds)
    if aligned.rows.empty:
        raise DataError("there is not one row to import: check the files and --time-zone")
    columns = _ordered(aligned.rows)
    rows = aligned.rows[columns]
    seconds = rows[TIMESTAMP].dt.as_unit("s").astype("int64")
    openings = seconds // CHUNK_SECONDS * CHUNK_SECONDS
    metrics = tuple(name for name in columns if name not in (TIMESTAMP, SERVER, *LABELS))
    names = [chunk_name(datetime.fromtimestamp(int(o), UTC)) for o in sorted(set(openings))]
    written = write_dataset(
        output,
        _chunks(rows, openings),
        names=names,
        cadence_seconds=cadence_seconds,
        metadata={
            "source": "argus import",
            "servers": int(rows[SERVER].nunique()),
            "files": sorted(path.name for path in sources),
        },
    )
    return Imported(
        written=written,
        servers=int(rows[SERVER].nunique()),
        metrics=metrics,
        repeated=aligned.repeated,
        merged=aligned.merged,
        without_time=aligned.without_time,
    )


def _ordered(rows: pd.DataFrame) -> list[str]:
    """Returns the columns that are there, in the guide's order, own metrics last."""
    known = [TIMESTAMP, SERVER, *LABELS, *METRICS]
    return [name for name in known if name in rows] + sorted(set(rows.columns) - set(known))


def _chunks(rows: pd.DataFrame, openings: "pd.Series[int]") -> Iterator[Chunk]:
    for opening, part in rows.groupby(openings, sort=True):
        start = datetime.fromtimestamp(int(str(opening)), UTC)
        # No index and no pandas metadata: the file is the same whatever pandas wrote it.
        table = pa.Table.from_pandas(part, preserve_index=False).replace_schema_metadata(None)
        yield Chunk(start=start, end=chunk_end(start), table=table)
