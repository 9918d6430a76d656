"""Seconds between two rows of a server, read from the data itself."""

import numpy as np

from argus_trainer.data.clock import MICROS
from argus_trainer.data.decode import Columns
from argus_trainer.errors import DataError

_KNOWN = np.array([1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600])
_TOLERANCE = 0.1
"""Agents drift: a median of 299 s is a cadence of 300 s."""


def cadence_of(columns: Columns, name: str) -> int:
    """Returns the usual distance of rows of a server, as a divisor of two hours.

    Raises DataError when the chunk `name` shows none.
    """
    order = np.lexsort((columns.micros, columns.servers.codes))
    same_server = np.diff(columns.servers.codes[order]) == 0
    apart = np.diff(columns.micros[order])[same_server]
    apart = apart[apart > 0]
    if not apart.size:
        raise DataError(
            f"{name}: no server has two rows, so the cadence is unknown: "
            "rewrite the data with argus import --cadence"
        )
    usual = float(np.median(apart)) / MICROS
    nearest = int(_KNOWN[np.argmin(np.abs(_KNOWN - usual))])
    if abs(nearest - usual) > _TOLERANCE * nearest:
        raise DataError(
            f"{name}: rows of a server are {usual:g} s apart, which fits no known cadence: "
            "rewrite the data with argus import --cadence"
        )
    return nearest
