"""Rows of a chunk onto its steps: at most one row for each server and step.

The last row wins, as a re-sent row is newer. A row outside its chunk's own time is left out:
it could carry the future of a split into the past.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argus_trainer.data.clock import MICROS
from argus_trainer.data.decode import Columns


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Rows that count."""

    rows: NDArray[np.int64]
    """[k] indices into the chunk's rows."""
    servers: NDArray[np.int64]
    """[k] server codes."""
    steps: NDArray[np.int64]
    """[k] steps from the chunk's first one."""
    duplicates: int
    outside: int
    without_target: int
    unknown: int
    """Rows of servers that have no code."""


def place(
    columns: Columns,
    codes: NDArray[np.int64],
    steps: tuple[int, int],
    cadence_seconds: int,
    num_targets: int,
) -> Placed:
    """Returns the rows that count of a chunk with the steps [start, end).

    `codes` has the code of each of `columns.servers.values`, -1 for unknown ones. The targets
    are the last `num_targets` of the values: a row without one of them was not observed.
    """
    start, end = steps
    num_servers = int(codes.max(initial=-1)) + 1
    server = codes[columns.servers.codes] if len(codes) else columns.servers.codes
    step = columns.micros // (cadence_seconds * MICROS) - start
    inside = (step >= 0) & (step < end - start)
    known = server >= 0
    targets = columns.values[:, columns.values.shape[1] - num_targets :]
    has_targets = ~np.isnan(targets).any(axis=1)
    rows = np.flatnonzero(inside & known & has_targets)
    newest = np.full(num_servers * (end - start), -1, dtype=np.int64)
    # Of indices that repeat, NumPy keeps what is assigned last.
    newest[server[rows] * (end - start) + step[rows]] = rows
    kept = newest[newest >= 0]
    return Placed(
        rows=kept,
        servers=server[kept],
        steps=step[kept],
        duplicates=len(rows) - len(kept),
        outside=int((~inside).sum()),
        without_target=int((inside & ~has_targets).sum()),
        unknown=int((inside & ~known).sum()),
    )
