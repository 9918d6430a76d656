"""From a listing to chunks, for the three layouts that a dataset may have.

1. `chunk_manifest.json`, as `argus generate` and `argus import` write it: it states all times.
2. Names that state a time: `chunk_YYYYMMDD_HH.parquet`, folders `time_chunk=YYYYMMDD_HH/`.
3. Parquet files with any names: their footers state the times of their rows.

Whatever is not taken is counted in `Listed.notes`, or ends the run with its name.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from argus_contract.launch import LaunchData
from argus_contract.plan import PinnedObject
from argus_trainer.data.chunk_files import (
    CHUNK_SECONDS,
    MANIFEST,
    METADATA,
    ChunkManifest,
    chunk_start,
    parse_manifest,
)
from argus_trainer.data.footers import read_times, timed_by_footers
from argus_trainer.data.schema import TIMESTAMP
from argus_trainer.data.spans import TimedObject, chunks_of
from argus_trainer.data.wrong_clocks import settled
from argus_trainer.errors import DataError
from argus_trainer.storage.store import ObjectInfo, Source


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The chunks of a dataset, by time, then key."""

    objects: tuple[PinnedObject, ...]
    cadence_seconds: int | None
    """Of the rows as recorded, where a manifest states it."""
    rows: int | None
    """Where a manifest states them."""
    notes: tuple[str, ...] = ()
    """What was left out, counted."""


def list_chunks(source: Source, data: LaunchData) -> Listed:
    """Returns the chunks at `data.uri`. Opens files only in the third layout.

    Raises DataError for an empty prefix, two datasets in one, a broken manifest, an object
    unlike its manifest, and what `timed_by_footers` and `chunks_of` raise.
    """
    listing = source.list_objects()
    manifests = [entry for entry in listing if entry.key.rpartition("/")[2] == MANIFEST]
    if len(manifests) > 1:
        raise DataError(
            f"data.uri {source.uri} holds {len(manifests)} datasets ({manifests[0].key}, "
            f"{manifests[1].key}): name the folder of one"
        )
    for entry in manifests:
        address = f"{source.uri}/{entry.key}"
        manifest = parse_manifest(bytes(source.get(entry.key, etag=entry.etag)), address)
        if manifest is not None:
            return _from_manifest(source.uri, entry, manifest, listing, data)
    return _from_files(source, listing, data)


def _from_manifest(
    uri: str,
    entry: ObjectInfo,
    manifest: ChunkManifest,
    listing: Sequence[ObjectInfo],
    data: LaunchData,
) -> Listed:
    folder = entry.key.removesuffix(MANIFEST)
    info_of_key = {info.key: info for info in listing}
    timed: list[TimedObject] = []
    for chunk in manifest.chunks:
        info = info_of_key.get(folder + chunk.file)
        if info is None or info.size != chunk.bytes:
            found = "is absent" if info is None else f"has {info.size} bytes, not {chunk.bytes}"
            raise DataError(
                f"{uri}/{folder}{chunk.file} {found}, unlike {MANIFEST} says: "
                "restore it or write the dataset again"
            )
        if chunk.start >= chunk.end:
            raise DataError(
                f"{uri}/{entry.key}: {chunk.file} ends at {chunk.end} and starts at "
                f"{chunk.start}: write the dataset again"
            )
        timed.append(TimedObject(info, _seconds(chunk.start), _seconds(chunk.end)))
    if not timed:
        raise DataError(f"{uri}/{entry.key} lists no chunk: write the dataset again")
    known = {entry.info.key for entry in timed} | {entry.key}
    others = [i.key for i in listing if i.key not in known and _is_data(i.key)]
    return Listed(
        objects=chunks_of(timed, cadence_seconds=data.cadence_seconds),
        cadence_seconds=manifest.cadence_seconds,
        rows=sum(chunk.rows for chunk in manifest.chunks),
        notes=_left_out(others, f"Parquet files that {MANIFEST} does not list"),
    )


def _from_files(source: Source, listing: Sequence[ObjectInfo], data: LaunchData) -> Listed:
    files = [info for info in listing if _is_data(info.key)]
    if not files:
        raise DataError(
            f"data.uri {source.uri} holds no Parquet file ({len(listing)} objects in all): "
            "check the prefix, or fill it with argus generate or argus import"
        )
    unused = [i.key for i in listing if not _is_data(i.key) and not i.key.endswith(MANIFEST)]
    notes = _left_out(
        [key for key in unused if not key.endswith(METADATA)],
        "objects that are no Parquet files or belong to a writer (names with _ or .)",
    )
    starts = {info.key: start for info in files if (start := chunk_start(info.key))}
    if len(starts) == len(files):
        timed = _timed_by_names(files, {key: _seconds(start) for key, start in starts.items()})
        objects = chunks_of(timed, cadence_seconds=data.cadence_seconds)
        return Listed(objects=objects, cadence_seconds=None, rows=None, notes=notes)
    if starts:
        nameless = next(info.key for info in files if info.key not in starts)
        raise DataError(
            f"data.uri {source.uri} holds two datasets: {next(iter(starts))} states its time and "
            f"{nameless} does not: name the folder of one, or rename the other's files"
        )
    column = _timestamp_name(data)
    timed, empty = timed_by_footers(source, files, column)
    if not timed:
        raise DataError(f"data.uri {source.uri}: none of {len(files)} Parquet files has a row")
    timed, wrong = settled(timed, lambda entry: read_times(source, entry.info, column))
    return Listed(
        objects=chunks_of(
            _in_window(timed, data), cadence_seconds=data.cadence_seconds, on_clock=True
        ),
        cadence_seconds=None,
        rows=None,
        notes=(*notes, *wrong, *_left_out(empty, "Parquet files without a row")),
    )


def _timed_by_names(files: Sequence[ObjectInfo], starts: dict[str, int]) -> list[TimedObject]:
    """Returns files whose names state their start: each lasts as usual, at most to the next."""
    ordered = sorted(set(starts.values()))
    apart = Counter(after - before for before, after in pairwise(ordered))
    # Of lengths that are equally frequent the shortest: the longer ones then span holes.
    usual = min(apart, key=lambda length: (-apart[length], length), default=CHUNK_SECONDS)
    timed = []
    for info in files:
        start = starts[info.key]
        after = bisect_right(ordered, start)
        limit = ordered[after] if after < len(ordered) else start + usual
        timed.append(TimedObject(info, start, min(start + usual, limit)))
    return timed


def _in_window(timed: Sequence[TimedObject], data: LaunchData) -> list[TimedObject]:
    """Returns the part of the files inside an absolute window; all, where that is none of them.

    So a single row of a wrong clock does not make chunks far outside of it.
    """
    start = _seconds(data.window.start) if data.window.start else None
    end = _seconds(data.window.end) if data.window.end else None
    inside = [
        TimedObject(
            entry.info,
            entry.start if start is None else max(start, entry.start),
            entry.end if end is None else min(end, entry.end),
        )
        for entry in timed
    ]
    return [entry for entry in inside if entry.start < entry.end] or list(timed)


def _is_data(key: str) -> bool:
    return key.endswith(".parquet") and not any(part[0] in "_." for part in key.split("/") if part)


def _timestamp_name(data: LaunchData) -> str:
    named = (column for column in data.columns if column.name == TIMESTAMP)
    return next((column.source for column in named if column.source), TIMESTAMP)


def _left_out(keys: Sequence[str], what: str) -> tuple[str, ...]:
    return (f"{len(keys)} {what}: left out (first: {keys[0]})",) if keys else ()


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp())
