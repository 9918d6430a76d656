"""Rows of a chunk onto its steps: at most one row for each server and step.

The rules, in this order; each row that does not count is counted:
* A row outside its chunk's own time is left out, late or of the future: it could carry the
  future of a split into the past.
* A row of a server without a code is left out: training never saw it.
* A row without a value of every target was not observed.
* Of the rows of one server and step the one that stands last in the file counts: a row that
  was sent again is the newer one. The order of rows means nothing else.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argus_trainer.data.clock import MICROS
from argus_trainer.data.decode import Columns


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Rows that count, sorted by server and step."""

    rows: NDArray[np.int64]
    """[k] indices into the chunk's rows."""
    servers: NDArray[np.int64]
    """[k] server codes."""
    steps: NDArray[np.int64]
    """[k] steps from the chunk's first one."""
    duplicates: int
    """Rows that a later one of their server and time replaced."""
    crowded: int
    """Rows that a later one of their server and step replaced, which tells another time."""
    late: int
    """Rows from before the chunk's time."""
    future: int
    """Rows from after it."""
    unsorted: int
    """Rows that stand behind a newer one of their server; they count all the same."""
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
    are the last `num_targets` of the values.
    """
    start, end = steps
    num_steps, num_servers = end - start, int(codes.max(initial=-1)) + 1
    server = codes[columns.servers.codes] if len(codes) else columns.servers.codes
    step = columns.micros // (cadence_seconds * MICROS) - start
    late, future = step < 0, step >= num_steps
    inside = ~(late | future)
    known = server >= 0
    targets = columns.values[:, columns.values.shape[1] - num_targets :]
    has_targets = ~np.isnan(targets).any(axis=1)
    rows = np.flatnonzero(inside & known & has_targets)
    newest = np.full(num_servers * num_steps, -1, dtype=np.int64)
    # Of indices that repeat, NumPy keeps what is assigned last.
    newest[server[rows] * num_steps + step[rows]] = rows
    kept = newest[newest >= 0]
    replaced, crowded = len(rows) - len(kept), 0
    if replaced:
        by = newest[server[rows] * num_steps + step[rows]]
        crowded = int(np.count_nonzero(columns.micros[rows] != columns.micros[by]))
    return Placed(
        rows=kept,
        servers=server[kept],
        steps=step[kept],
        duplicates=columns.duplicates + replaced - crowded,
        crowded=crowded,
        late=columns.late + int(np.count_nonzero(late)),
        future=columns.future + int(np.count_nonzero(future)),
        unsorted=_descents(kept, server[kept]),
        without_target=int(np.count_nonzero(inside & known & ~has_targets)),
        unknown=int(np.count_nonzero(inside & ~known)),
    )


def _descents(rows: NDArray[np.int64], servers: NDArray[np.int64]) -> int:
    """Returns how many rows stand in the file before the row that is older than they."""
    return int(np.count_nonzero((np.diff(rows) < 0) & (np.diff(servers) == 0)))
