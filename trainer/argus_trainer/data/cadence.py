"""Seconds between two rows of a server, read from the data itself."""

import numpy as np

from argus_trainer.data.clock import MICROS
from argus_trainer.data.decode import Columns
from argus_trainer.errors import DataError

_KNOWN = np.array([1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600])
_TOLERANCE = 0.1
"""Agents drift: a median of 299 s is a cadence of 300 s."""
_NUM_SERVERS = 256
"""So many servers of a chunk show its cadence well enough."""


def cadence_of(columns: Columns, name: str) -> int | None:
    """Returns the usual distance of rows of a server, as a divisor of two hours.

    None without two rows of one server. Raises DataError when the distance is no usual one.
    """
    few = np.flatnonzero(columns.servers.codes < _NUM_SERVERS)
    servers, micros = columns.servers.codes[few], columns.micros[few]
    order = np.lexsort((micros, servers))
    apart = np.diff(micros[order])[np.diff(servers[order]) == 0]
    apart = apart[apart > 0]
    if not apart.size:
        return None
    usual = float(np.median(apart)) / MICROS
    nearest = int(_KNOWN[np.argmin(np.abs(_KNOWN - usual))])
    if abs(nearest - usual) > _TOLERANCE * nearest:
        raise DataError(
            f"{name}: rows of a server are {usual:g} s apart, which is no usual cadence: "
            "set data.cadenceSeconds, for example to 60, to gather them onto a grid"
        )
    return nearest


def check_cadence(columns: Columns, name: str, cadence_seconds: int) -> None:
    """Raises DataError for a chunk that shows another cadence than the dataset's.

    On a grid of one step the rows of the other would be gaps or duplicates.
    """
    shown = cadence_of(columns, name)
    if shown is not None and shown != cadence_seconds:
        raise DataError(
            f"{name} has a row every {shown} s and the dataset every {cadence_seconds} s, as its "
            f"first chunk shows: set data.cadenceSeconds to {max(shown, cadence_seconds)} to "
            "gather both onto one grid"
        )
