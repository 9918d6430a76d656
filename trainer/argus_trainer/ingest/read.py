"""One file of a user becomes rows with the guide's column names and UTC times.

The idea: a column is taken when the map names it or when it already has a name of the guide;
all others are left behind. Price: a file is held in memory as a whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from argus_trainer.data.chunk_files import FIRST_YEAR, LAST_YEAR
from argus_trainer.data.schema import METRICS, PROFILE, SERVER, STATUS, TIMESTAMP
from argus_trainer.errors import DataError, UsageError

LABELS = (STATUS, PROFILE)
"""Columns of text that are taken over."""
_HAS_OFFSET = r"(?:[Zz]|[+-]\d\d:?\d\d)$"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a user's files are to be understood."""

    names: Mapping[str, str]
    """Own column name to the guide's (`value` to `cpu_user_pct`)."""
    timestamp_column: str = TIMESTAMP
    timestamp_unit: str = "s"
    """Unit of clocks that are numbers since 1970: s, ms, us or ns."""
    timestamp_format: str | None = None
    """strptime format of clocks that are text; None is ISO 8601."""
    time_zone: str = "UTC"
    """Zone of clocks that name none."""
    server_column: str | None = SERVER
    """None: the server is the name of the file without its ending."""


def read_rows(path: Path, reading: Reading) -> pd.DataFrame:
    """Returns rows with `timestamp` (UTC), `server_name`, labels and float64 metrics.

    A time that the zone's clock never shows, or shows twice, is NaT.
    Raises UsageError for options that fit no file, DataError for what the file holds.
    """
    table = _table(path)
    names = _names(path, table.column_names, reading)
    frame = table.select(list(names)).to_pandas().rename(columns=names)
    frame[TIMESTAMP] = _times(path, frame[TIMESTAMP], reading)
    if reading.server_column is None:
        frame[SERVER] = path.stem
    if frame[SERVER].isna().any():
        raise DataError(f"{path}: a row has no server in column {reading.server_column}")
    frame[SERVER] = frame[SERVER].astype(str)
    for column in frame.columns.difference([TIMESTAMP, SERVER]):
        frame[column] = _label(frame[column]) if column in LABELS else _metric(path, frame[column])
    return frame


def _table(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        # Clocks stay text here: their zone is decided in one place.
        with pyarrow.csv.open_csv(path) as head:
            text = {
                field.name: pa.string() for field in head.schema if pa.types.is_temporal(field.type)
            }
        convert = pyarrow.csv.ConvertOptions(column_types=text, strings_can_be_null=True)
        return pyarrow.csv.read_csv(path, convert_options=convert)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: name CSV or Parquet files") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as CSV or Parquet: {error}") from error


def _names(path: Path, columns: list[str], reading: Reading) -> dict[str, str]:
    """Returns own name to guide's name for the columns that are taken."""
    there = f"it has {', '.join(columns)}"
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: column {repeated[0]} stands in it twice: rename one of them")
    for own in reading.names:
        if own not in columns:
            raise UsageError(f"--map {own}={reading.names[own]}: {path} has no {own}; {there}")
    if reading.timestamp_column not in columns:
        raise UsageError(
            f"--timestamp-column {reading.timestamp_column}: {path} has no such column; {there}"
        )
    taken = {name: name for name in columns if name in (*METRICS, *LABELS)} | dict(reading.names)
    taken[reading.timestamp_column] = TIMESTAMP
    if reading.server_column is not None:
        if reading.server_column not in columns:
            raise UsageError(
                f"--server-column {reading.server_column}: {path} has no such column; {there}; "
                "use --server-from-file when each file is one server"
            )
        taken[reading.server_column] = SERVER
    twice = {name for name in taken.values() if list(taken.values()).count(name) > 1}
    if twice:
        raise UsageError(f"{path}: two columns would become {', '.join(sorted(twice))}")
    if not set(taken.values()) - {TIMESTAMP, SERVER, *LABELS}:
        raise UsageError(
            f"{path} has no metric of the guide; {there}: name one, for example "
            f"--map {columns[-1]}=cpu_user_pct"
        )
    return taken


def _times(path: Path, clock: "pd.Series[Any]", reading: Reading) -> pd.DatetimeIndex:
    try:
        zone = ZoneInfo(reading.time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise UsageError(
            f"--time-zone {reading.time_zone} is unknown: use a name like Europe/Berlin"
        ) from error
    try:
        times = pd.DatetimeIndex(_parsed(path, clock, reading))
    except ValueError as error:
        raise DataError(
            f"{path}: column {reading.timestamp_column} holds a time that cannot be read "
            f"({error}): give --timestamp-format or --timestamp-unit"
        ) from error
    _check_years(path, times, reading.timestamp_column)
    if times.tz is None:
        times = times.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    return times.tz_convert("UTC").as_unit("ms")


def _check_years(path: Path, times: pd.DatetimeIndex, column: str) -> None:
    """Refuses years that come from a misread clock; NaT has no year and passes."""
    strange = (times.year < FIRST_YEAR) | (times.year > LAST_YEAR)
    if strange.any():
        row = int(strange.argmax())
        raise DataError(
            f"{path}: column {column} has {times[row]} in data row {row + 1}; data is of "
            f"the years {FIRST_YEAR} to {LAST_YEAR}: check --timestamp-unit and "
            "--timestamp-format, or remove the row"
        )


def _parsed(path: Path, clock: "pd.Series[Any]", reading: Reading) -> "pd.Series[Any]":
    if pd.api.types.is_datetime64_any_dtype(clock):
        return clock
    if pd.api.types.is_numeric_dtype(clock):
        unit: Any = reading.timestamp_unit
        return pd.to_datetime(clock, unit=unit, utc=True)
    text = clock.astype(str)
    with_offset = text.str.contains(_HAS_OFFSET)
    if reading.timestamp_format is None and with_offset.any() and not with_offset.all():
        raise DataError(
            f"{path}: column {reading.timestamp_column} has times with and without an offset: "
            "write all in one way"
        )
    aware = reading.timestamp_format is None and bool(with_offset.all())
    return pd.to_datetime(text, format=reading.timestamp_format or "ISO8601", utc=aware)


def _metric(path: Path, values: "pd.Series[float]") -> "pd.Series[float]":
    try:
        return pd.to_numeric(values).astype("float64")
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: the column for {values.name} is not numeric: {error}") from error


def _label(values: "pd.Series[str]") -> "pd.Series[str]":
    return values.astype("string")
