"""Ticks of many clocks onto one grid.

A bin is right-closed: a value seen in (t - cadence, t] stands at t, so nothing is known
before it was measured. Rows that repeat a server and a time are re-sent rows: the last one
wins. Different times in one bin are one mean (the last one for text).
"""

from dataclasses import dataclass

import pandas as pd

from argus_trainer.data.schema import SERVER, TIMESTAMP
from argus_trainer.ingest.read import LABELS


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Rows on the grid, sorted by time and server, and what it took."""

    rows: pd.DataFrame
    repeated: int
    """Rows replaced by a later one with the same server and time."""
    merged: int
    """Rows that share their bin with an earlier one."""
    without_time: int
    """Rows whose clock names no instant: dropped."""


def align(rows: pd.DataFrame, cadence_seconds: int) -> Aligned:
    """Returns at most one row per server and grid time."""
    timed = rows.dropna(subset=[TIMESTAMP])
    single = timed.drop_duplicates([SERVER, TIMESTAMP], keep="last")
    binned = single.assign(**{TIMESTAMP: single[TIMESTAMP].dt.ceil(f"{cadence_seconds}s")})
    keys = [TIMESTAMP, SERVER]
    merged = int(binned.duplicated(keys).sum())
    if merged:
        ordered = binned.loc[single[TIMESTAMP].sort_values(kind="stable").index]
        others = [name for name in binned.columns if name not in keys]
        how = {name: "last" if name in LABELS else "mean" for name in others}
        binned = ordered.groupby(keys, as_index=False, sort=False).agg(how)
    return Aligned(
        rows=binned.sort_values(keys, kind="stable", ignore_index=True),
        repeated=len(timed) - len(single),
        merged=merged,
        without_time=len(rows) - len(timed),
    )
