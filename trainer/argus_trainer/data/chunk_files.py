"""The layout of a dataset: Parquet chunks of two hours and a manifest, written last.

    <dataset>/server_metrics_partitioned/chunk_YYYYMMDD_HH.parquet
    <dataset>/server_metrics_partitioned/chunk_manifest.json
    <dataset>/metrics_metadata.json

Every object is written if-none-match, so an interrupted writer can be run again and a folder
that holds other data is refused. A reader that sees the manifest sees the whole dataset.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from argus_contract.model import Model, Time
from argus_trainer.errors import DataError, ObjectExists, UsageError
from argus_trainer.storage.store import Store
from argus_trainer.wording import problems_of

FOLDER = "server_metrics_partitioned/"
MANIFEST = "chunk_manifest.json"
METADATA = "metrics_metadata.json"
MANIFEST_VERSION = 1
CHUNK_SECONDS = 7_200
FIRST_YEAR, LAST_YEAR = 1970, 2200
"""Years that data may be of: others come from a clock that was misread, and names of chunks
have four digits for them."""

_CHUNK_NAME = re.compile(r"(?:^|/)(?:chunk_|time_chunk=)(\d{8})_(\d{2})(?=[./_-])")


@pydantic_dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class ChunkEntry:
    """One file of the manifest. Not a `Model`, each of which takes a kilobyte more."""

    file: str
    """Name relative to the manifest."""
    start: Time
    end: Time
    """First instant after the chunk."""
    rows: int
    bytes: int


class ChunkManifest(Model):
    """`chunk_manifest.json`, in snake_case as the guide's tools write JSON."""

    version: int
    cadence_seconds: int
    columns: tuple[str, ...]
    chunks: tuple[ChunkEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Rows of one chunk on their way to a file."""

    start: datetime
    end: datetime
    table: pa.Table


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a writer left behind."""

    chunks: int
    rows: int
    bytes: int
    start: datetime
    end: datetime


def chunk_start(key: str) -> datetime | None:
    """Returns the start that a key states (`chunk_20251201_02.parquet`, a hive folder)."""
    match = _CHUNK_NAME.search(key)
    if match is None:
        return None
    try:
        return datetime.strptime(f"{match[1]}{match[2]}", "%Y%m%d%H").replace(tzinfo=UTC)
    except ValueError:
        return None


def chunk_name(start: datetime) -> str:
    return f"chunk_{start:%Y%m%d_%H}.parquet"


def chunk_starts(first: datetime, end: datetime) -> list[datetime]:
    """Returns the clock-aligned starts of the chunks that cover [first, end)."""
    epoch = int(first.timestamp()) // CHUNK_SECONDS * CHUNK_SECONDS
    starts = range(epoch, int(end.timestamp()), CHUNK_SECONDS)
    return [datetime.fromtimestamp(start, UTC) for start in starts]


def check_cadence(cadence_seconds: int) -> None:
    """Raises UsageError for a cadence that does not divide a chunk."""
    if cadence_seconds < 1 or CHUNK_SECONDS % cadence_seconds:
        raise UsageError(
            f"--cadence {cadence_seconds} does not divide a chunk of {CHUNK_SECONDS} seconds: "
            "use for example 60 or 300"
        )


def parse_manifest(text: bytes, key: str) -> ChunkManifest | None:
    """Returns the manifest, or None when the file is of another tool (names tell the times).

    Raises DataError for a manifest of ours that cannot be read.
    """
    try:
        manifest = ChunkManifest.model_validate_json(text)
    except ValidationError as error:
        _refuse_broken(text, key, error)
        return None
    if manifest.version != MANIFEST_VERSION:
        raise DataError(
            f"{key} has version {manifest.version}; this Argus reads {MANIFEST_VERSION}: "
            "use the Argus that wrote it"
        )
    return manifest


def _refuse_broken(text: bytes, key: str, error: ValidationError) -> None:
    """Raises DataError unless the text is a document of another tool."""
    try:
        document = json.loads(text)
    except ValueError as no_json:
        raise DataError(f"{key} is no JSON ({no_json}): write the dataset again") from no_json
    if isinstance(document, dict) and {"version", "cadence_seconds"} <= document.keys():
        raise DataError(
            f"{key} is broken: {problems_of(error)}: write the dataset again"
        ) from error


def write_dataset(
    store: Store,
    chunks: Iterator[Chunk],
    *,
    names: list[str],
    cadence_seconds: int,
    metadata: dict[str, object],
) -> Written:
    """Writes chunks in order of time, then the metadata, then the manifest.

    `names` are the files that will be written: with them another dataset in the same place
    is found before anything is written. Raises UsageError then, or when a file that is there
    holds other bytes.
    """
    _refuse_another_dataset(store, names)
    entries: list[ChunkEntry] = []
    columns: tuple[str, ...] = ()
    for chunk in chunks:
        name = chunk_name(chunk.start)
        content = _parquet(chunk.table)
        _put(store, FOLDER + name, content)
        columns = tuple(chunk.table.column_names)
        entries.append(
            ChunkEntry(
                file=name,
                start=chunk.start,
                end=chunk.end,
                rows=chunk.table.num_rows,
                bytes=len(content),
            )
        )
    if not entries:
        raise DataError("there is not one row to write: check the input and its time range")
    rows = sum(entry.rows for entry in entries)
    manifest = ChunkManifest(
        version=MANIFEST_VERSION,
        cadence_seconds=cadence_seconds,
        columns=columns,
        chunks=tuple(entries),
    )
    summary = {
        **metadata,
        "start": entries[0].start.isoformat(),
        "end": entries[-1].end.isoformat(),
        "rows": rows,
        "columns": list(columns),
        "cadence_seconds": cadence_seconds,
    }
    _put(store, METADATA, _json(summary))
    _put(store, FOLDER + MANIFEST, _json(manifest.model_dump(mode="json")))
    return Written(
        chunks=len(entries),
        rows=rows,
        bytes=sum(entry.bytes for entry in entries),
        start=entries[0].start,
        end=entries[-1].end,
    )


def chunk_end(start: datetime) -> datetime:
    return start + timedelta(seconds=CHUNK_SECONDS)


def _refuse_another_dataset(store: Store, names: list[str]) -> None:
    expected = {FOLDER + name for name in names} | {FOLDER + MANIFEST, METADATA}
    others = [entry.key for entry in store.list_objects() if entry.key not in expected]
    if others:
        raise UsageError(
            f"--output {store.uri} is not empty: it holds {others[0]} and {len(others) - 1} more "
            "that are not of this dataset: choose another place or remove them"
        )


def _put(store: Store, key: str, content: bytes) -> None:
    try:
        store.put_new(key, content)
    except ObjectExists as error:
        raise UsageError(
            f"--output {store.uri} holds another dataset: {key} has other content: "
            "choose another place or remove it"
        ) from error


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
