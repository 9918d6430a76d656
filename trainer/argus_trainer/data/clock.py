"""Clocks of any kind become instants: whole microseconds since 1970.

A clock that names its zone means that instant, one that names none is UTC. Numbers tell
their unit by their size: today is 1.7e9 in seconds, 1.7e12 in milliseconds and so on, and the
ranges taken below (the years 1973 to 2286) do not touch each other.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from argus_trainer.errors import DataError

MICROS = 1_000_000
_PER_SECOND = {"s": 1, "ms": 1_000, "us": MICROS, "ns": 1_000_000_000}
_LEAST_SECONDS, _MOST_SECONDS = 10**8, 10**10
_HAS_OFFSET = r":\d{2}.*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"


def has_time(column: "pa.ChunkedArray[Any]") -> NDArray[np.bool_]:
    """Returns which rows have a time: not those with null, NaN or an infinite number."""
    there: NDArray[np.bool_] = np.ones(len(column), dtype=np.bool_)
    if column.null_count:
        there = column.is_valid().to_numpy()
    if pa.types.is_floating(column.type):
        there &= np.isfinite(column.to_numpy())
    return there


def instants(column: "pa.ChunkedArray[Any]", name: str) -> NDArray[np.int64]:
    """Returns microseconds since 1970 of a column whose rows all have a time.

    What is finer is cut off; a number with a fraction is rounded to the microsecond.

    `name` says file and column. Raises DataError for a type or a text that is no time.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_timestamp(kind):
        return _as_micros(column.cast(pa.int64()), kind.unit)
    if pa.types.is_integer(kind):
        numbers = column.cast(pa.int64())
        return _as_micros(numbers, _unit(numbers, name))
    if pa.types.is_float64(kind):
        per_second = _PER_SECOND[_unit(column, name)]
        micros: NDArray[np.float64] = column.to_numpy() * (MICROS / per_second)
        return np.rint(micros).astype(np.int64)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _parsed(column.cast(pa.string()), name)
    raise DataError(
        f"{name} is {kind}: a time is a timestamp, ISO 8601 text, or seconds, milli-, micro- "
        "or nanoseconds since 1970 as whole numbers or float64: convert it"
    )


def _as_micros(numbers: "pa.ChunkedArray[Any]", unit: str) -> NDArray[np.int64]:
    values: NDArray[np.int64] = numbers.to_numpy()
    per_second = _PER_SECOND[unit]
    if per_second > MICROS:
        return values // (per_second // MICROS)
    return values * (MICROS // per_second) if per_second < MICROS else values


def _unit(numbers: "pa.ChunkedArray[Any]", name: str) -> str:
    if not len(numbers):
        return "us"
    least, most = (pc.min_max(numbers)[end].as_py() for end in ("min", "max"))
    for unit, per_second in _PER_SECOND.items():
        if _LEAST_SECONDS * per_second <= least and most < _MOST_SECONDS * per_second:
            return unit
    raise DataError(
        f"{name} holds numbers from {least} to {most}: not all are seconds, milli-, micro- "
        "or nanoseconds since 1970 in one unit: write timestamps"
    )


def _parsed(texts: "pa.ChunkedArray[Any]", name: str) -> NDArray[np.int64]:
    # Servers share their times: each text is read once.
    encoded: Any = texts.dictionary_encode().unify_dictionaries().combine_chunks()
    distinct = encoded.dictionary
    micros = np.empty(len(distinct), dtype=np.int64)
    with_offset = pc.match_substring_regex(distinct, _HAS_OFFSET).to_numpy(zero_copy_only=False)
    for chosen, kind in (
        (with_offset, pa.timestamp("ns", "UTC")),
        (~with_offset, pa.timestamp("ns")),
    ):
        try:
            times = distinct.filter(pa.array(chosen)).cast(kind)
        except pa.ArrowInvalid as error:
            raise DataError(f"{name} holds a text that is no time ({error}): use ISO 8601") from (
                error
            )
        micros[chosen] = times.cast(pa.int64()).to_numpy() // 1_000
    of_rows: NDArray[np.int64] = micros[encoded.indices.to_numpy()]
    return of_rows
