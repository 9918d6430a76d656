"""Seconds between two rows of a server, read from the data itself.

Servers vote, not rows: one that is recorded every 5 s among ten that are recorded every 300 s
has most of the rows, and makes no dataset of 5 s.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argus_trainer.data.clock import MICROS
from argus_trainer.data.decode import Columns
from argus_trainer.data.reasons import some
from argus_trainer.data.slower import LEAST_DISTANCES, REGULAR_SHARE
from argus_trainer.errors import DataError

_KNOWN = np.array([1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600])
MOST_SECONDS = int(_KNOWN[-1])
_TOLERANCE = 0.1
"""Agents drift: a median of 299 s is a cadence of 300 s."""
_NUM_SERVERS = 256
"""So many servers of a chunk show its cadence well enough."""


@dataclass(frozen=True, kw_only=True)
class _Distances:
    """Seconds between rows of one server that follow each other, by server, ascending."""

    servers: NDArray[np.int64]
    """[n] codes."""
    seconds: NDArray[np.float64]
    """[n]"""
    first: NDArray[np.int64]
    """[servers with two rows] places at which theirs begin."""

    @property
    def usual(self) -> NDArray[np.float64]:
        """Returns the median of each server."""
        counts = np.diff(self.first, append=len(self.seconds))
        low, high = self.first + (counts - 1) // 2, self.first + counts // 2
        medians: NDArray[np.float64] = (self.seconds[low] + self.seconds[high]) / 2
        return medians


def cadence_of(columns: Columns, name: str) -> int | None:
    """Returns the distance of rows that most servers have, as a divisor of two hours.

    None without two rows of one server. Raises DataError when the distance is no usual one.
    """
    usual = _distances(columns).usual
    if not usual.size:
        return None
    nearest = _nearest(usual)
    is_known = _alike(usual, nearest)
    if 2 * np.count_nonzero(is_known) < len(usual):
        raise DataError(
            f"{name}: rows of a server are {np.median(usual):g} s apart, which is no usual "
            "cadence: set data.cadenceSeconds, for example to 60, to gather them onto a grid"
        )
    cadences, counts = np.unique(nearest[is_known], return_counts=True)
    return int(cadences[np.argmax(counts)])


def check_cadence(columns: Columns, name: str, cadence_seconds: int) -> None:
    """Raises DataError for a chunk most of whose servers have another cadence than the dataset.

    On a grid of one step its rows would be gaps or duplicates. Rows that are missing here and
    there make no other cadence; fewer servers are counted and named (`slower.py`, `place.py`).
    """
    distances = _distances(columns)
    if not distances.seconds.size:
        return
    nearest = _nearest(distances.usual)
    cadences, counts = np.unique(nearest, return_counts=True)
    shown = int(cadences[np.argmax(counts)])
    if np.count_nonzero(nearest == cadence_seconds) >= counts.max():
        return
    owners = distances.servers[distances.first][nearest == shown]
    apart = distances.seconds[np.isin(distances.servers, owners)]
    if len(apart) < LEAST_DISTANCES and (shown % cadence_seconds == 0 or len(counts) > 1):
        return
    if _alike(apart, np.array(shown)).mean() >= REGULAR_SHARE:
        raise DataError(
            f"{name} has a row every {shown} s and the dataset every {cadence_seconds} s, as its "
            f"first chunk shows (server {some([columns.servers.values[owners[0]]])}): set "
            f"data.cadenceSeconds to {max(shown, cadence_seconds)} to gather both onto one grid"
        )


def _distances(columns: Columns) -> _Distances:
    # At equal distances: servers of one kind may stand side by side.
    each = -(-len(columns.servers.values) // _NUM_SERVERS)
    few = np.flatnonzero(columns.servers.codes % max(each, 1) == 0)
    servers, micros = columns.servers.codes[few], columns.micros[few]
    by_time = np.lexsort((micros, servers))
    servers, apart = servers[by_time], np.diff(micros[by_time])
    theirs = np.flatnonzero((np.diff(servers) == 0) & (apart > 0))
    servers, apart = servers[theirs], apart[theirs]
    ascending = np.lexsort((apart, servers))
    servers = servers[ascending]
    return _Distances(
        servers=servers,
        seconds=apart[ascending] / MICROS,
        first=np.flatnonzero(np.diff(servers, prepend=-1)),
    )


def _nearest(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = _KNOWN[np.abs(_KNOWN - seconds[:, None]).argmin(axis=1)]
    return nearest


def _alike(seconds: NDArray[np.float64], cadences: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.abs(seconds - cadences) <= _TOLERANCE * cadences
