"""The time that a Parquet file covers, from its last kilobytes.

A footer states the least and greatest value of each column in each row group, so that the
times of any number of files cost one small request each, many at once. A file that states
none is read as a whole, and its timestamp column decides.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from argus_trainer.data.clock import MICROS, has_time, instants
from argus_trainer.data.fetch import LARGE_BYTES
from argus_trainer.data.remote_file import RemoteFile
from argus_trainer.data.spans import TimedObject
from argus_trainer.data.wrong_clocks import Times
from argus_trainer.errors import DataError
from argus_trainer.storage.store import ObjectInfo, Source

TAIL_BYTES = 64 * 1024
"""Holds the footer of nearly every file: one request then is enough."""
NUM_AT_ONCE = 32
_MAGIC = b"PAR1"
_UNITS_PER_SECOND = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


def timed_by_footers(
    source: Source, files: Sequence[ObjectInfo], column: str
) -> tuple[list[TimedObject], list[str]]:
    """Returns the files with the times of their rows, and the keys of those without a row.

    `column` is the name of the timestamp column in the files. Raises DataError, naming the
    object, for one that is no Parquet file, has no such column, or holds no times in it.
    """
    with ThreadPoolExecutor(NUM_AT_ONCE, thread_name_prefix="argus-footers") as pool:
        ranges = list(pool.map(lambda info: _range(source, info, column), files))
    timed = [
        TimedObject(info, first, last + 1)
        for info, (first, last) in ((i, r) for i, r in zip(files, ranges, strict=True) if r)
    ]
    return timed, [info.key for info, found in zip(files, ranges, strict=True) if not found]


def stated_seconds(metadata: pq.FileMetaData, group: int, column: str) -> tuple[int, int] | None:
    """Returns the first and last second of a row group's rows in a top-level column.

    None where the file does not say it, or not in a known unit.
    """
    names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    index = names.index(column)
    described = json.loads(metadata.schema.column(index).logical_type.to_json())
    per_second = _UNITS_PER_SECOND.get(described.get("timeUnit", ""))
    statistics = metadata.row_group(group).column(index).statistics
    if described["Type"] != "Timestamp" or per_second is None:
        return None
    if statistics is None or not statistics.has_min_max:
        return None
    least: Any = statistics.min_raw
    most: Any = statistics.max_raw
    return least // per_second, most // per_second


def _range(source: Source, info: ObjectInfo, column: str) -> tuple[int, int] | None:
    """Returns the first and last second of a file's rows, or None for a file without rows."""
    name = f"{source.uri}/{info.key}"
    metadata = _footer(source, info, name)
    if not metadata.num_rows:
        return None
    names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    if column not in names:
        raise DataError(
            f"{name} has no column {column}; it has {', '.join(names)}: say which one is the "
            "timestamp in data.columns, or move the object out of the dataset"
        )
    return _stated(metadata, column) or _read(source, info, column, name)


def _footer(source: Source, info: ObjectInfo, name: str) -> pq.FileMetaData:
    tail = _tail(source, info, TAIL_BYTES)
    if len(tail) < 12 or tail[-4:] != _MAGIC:
        raise DataError(
            f"{name} is no Parquet file ({info.size} bytes; the mark at its end is missing): "
            "write it again or remove it"
        )
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > len(tail):
        tail = _tail(source, info, length)
    try:
        return pq.read_metadata(pa.BufferReader(tail))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name} is no Parquet file: {error}: write it again") from error


def _tail(source: Source, info: ObjectInfo, length: int) -> bytes:
    start = max(0, info.size - length)
    return source.get_range(info.key, start, info.size, etag=info.etag) if info.size else b""


def _stated(metadata: pq.FileMetaData, column: str) -> tuple[int, int] | None:
    """Returns what all row groups say together, or None where not all of them say it."""
    groups = [n for n in range(metadata.num_row_groups) if metadata.row_group(n).num_rows]
    stated = [stated_seconds(metadata, group, column) for group in groups]
    times = [entry for entry in stated if entry]
    if len(times) < len(groups):
        return None
    return min(first for first, _ in times), max(last for _, last in times)


def _read(source: Source, info: ObjectInfo, column: str, name: str) -> tuple[int, int]:
    times = read_times(source, info, column)
    if not len(times.seconds):
        raise DataError(f"{name}: no row has a {column}: write the object again or remove it")
    return int(times.seconds[0]), int(times.seconds[-1])


def read_times(source: Source, info: ObjectInfo, column: str) -> Times:
    """Returns the times of a file's rows, read row group by row group.

    Raises DataError, naming the object, for one that cannot be decoded or holds no times.
    """
    name = f"{source.uri}/{info.key}"
    is_large = info.size > LARGE_BYTES
    content: Any = (
        pa.PythonFile(RemoteFile(source, info), mode="r")
        if is_large
        else pa.BufferReader(source.get(info.key, etag=info.etag))
    )
    seconds, rows = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    try:
        file = pq.ParquetFile(content)
        for group in range(file.num_row_groups):
            values = file.read_row_group(group, columns=[column]).column(0)
            values = values.filter(pa.array(has_time(values)))
            distinct, counts = np.unique(
                instants(values, f"{name}: column {column}") // MICROS, return_counts=True
            )
            seconds.append(distinct)
            rows.append(counts)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name} cannot be decoded: {error}: write it again") from error
    distinct, places = np.unique(np.concatenate(seconds), return_inverse=True)
    counts = np.bincount(places, weights=np.concatenate(rows), minlength=len(distinct))
    return Times(seconds=distinct, rows=counts.astype(np.int64))
