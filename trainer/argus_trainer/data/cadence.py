"""Seconds between two rows of a server, read from the data itself."""

import numpy as np
from numpy.typing import NDArray

from argus_trainer.data.clock import MICROS
from argus_trainer.data.decode import Columns
from argus_trainer.errors import DataError

_KNOWN = np.array([1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600])
MOST_SECONDS = int(_KNOWN[-1])
_TOLERANCE = 0.1
"""Agents drift: a median of 299 s is a cadence of 300 s."""
_NUM_SERVERS = 256
"""So many servers of a chunk show its cadence well enough."""
_REGULAR_SHARE = 0.9
"""Of the distances in a chunk: so many alike are a cadence of its own, fewer are gaps."""
_LEAST_DISTANCES = 8
"""Fewer distances that are multiples of the dataset's may be rows that were lost."""


def cadence_of(columns: Columns, name: str) -> int | None:
    """Returns the usual distance of rows of a server, as a divisor of two hours.

    None without two rows of one server. Raises DataError when the distance is no usual one.
    """
    apart = _distances(columns)
    if not apart.size:
        return None
    usual = float(np.median(apart))
    nearest = _nearest(usual)
    if not _alike(np.array([usual]), nearest).all():
        raise DataError(
            f"{name}: rows of a server are {usual:g} s apart, which is no usual cadence: "
            "set data.cadenceSeconds, for example to 60, to gather them onto a grid"
        )
    return nearest


def check_cadence(columns: Columns, name: str, cadence_seconds: int) -> None:
    """Raises DataError for a chunk that has a cadence of its own, unlike the dataset's.

    On a grid of one step its rows would be gaps or duplicates. Rows that are missing here and
    there make no other cadence.
    """
    apart = _distances(columns)
    if not apart.size:
        return
    shown = _nearest(float(np.median(apart)))
    if shown % cadence_seconds == 0 and len(apart) < _LEAST_DISTANCES:
        return
    if shown != cadence_seconds and _alike(apart, shown).mean() >= _REGULAR_SHARE:
        raise DataError(
            f"{name} has a row every {shown} s and the dataset every {cadence_seconds} s, as its "
            f"first chunk shows: set data.cadenceSeconds to {max(shown, cadence_seconds)} to "
            "gather both onto one grid"
        )


def _distances(columns: Columns) -> NDArray[np.float64]:
    """Returns seconds between rows of one server that follow each other."""
    few = np.flatnonzero(columns.servers.codes < _NUM_SERVERS)
    servers, micros = columns.servers.codes[few], columns.micros[few]
    order = np.lexsort((micros, servers))
    apart = np.diff(micros[order])[np.diff(servers[order]) == 0]
    seconds: NDArray[np.float64] = apart[apart > 0] / MICROS
    return seconds


def _nearest(seconds: float) -> int:
    return int(_KNOWN[np.argmin(np.abs(_KNOWN - seconds))])


def _alike(apart: NDArray[np.float64], cadence_seconds: int) -> NDArray[np.bool_]:
    return np.abs(apart - cadence_seconds) <= _TOLERANCE * cadence_seconds
