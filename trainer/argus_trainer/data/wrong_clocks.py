"""Rows of a clock that was wrong, in files that only their rows date.

Where a manifest or names tell a file's time, a row outside of it is late or of the future. Where
footers tell it, one row of the year 2099 would make the file a century long. So a file that is
out of line with the others is asked for all of its times: rows behind a gap that is longer than
the middle nine tenths of its rows are of a wrong clock. They are left out and counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

from argus_trainer.data.spans import DAY, TimedObject

MOST_TIMES_USUAL = 10
"""A file that reaches over more than so many usual ones is asked, if that is over a day."""
FEW_FILES, LONG = 3, 31 * DAY
"""Fewer files have no usual length: there a file over more than a month is asked."""
OUTER_SHARE = 0.05
"""Of the rows at either end: what may be of a wrong clock."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """When the rows of a file are."""

    seconds: NDArray[np.int64]
    """Since 1970, each once, ascending."""
    rows: NDArray[np.int64]
    """Of each second."""


def settled(
    timed: Sequence[TimedObject], times_of: Callable[[TimedObject], Times]
) -> tuple[list[TimedObject], tuple[str, ...]]:
    """Returns the files with the time of their right rows, and a note that counts the others."""
    usual, limit = DAY, LONG
    if len(timed) >= FEW_FILES:
        usual = median_low(entry.end - entry.start for entry in timed)
        limit = max(MOST_TIMES_USUAL * usual, DAY)
    found: list[TimedObject] = []
    example, num_rows = "", 0
    for entry in timed:
        right = entry
        if entry.end - entry.start > limit:
            times = times_of(entry)
            begin, end = _right(times, usual)
            right = replace(
                entry, start=int(times.seconds[begin]), end=int(times.seconds[end - 1]) + 1
            )
            wrong = np.delete(times.seconds, slice(begin, end))
            num_rows += int(times.rows.sum() - times.rows[begin:end].sum())
            if wrong.size and not example:
                example = f"{entry.info.key} of {datetime.fromtimestamp(int(wrong[0]), UTC)}"
        found.append(right)
    note = f"{num_rows} rows of a wrong clock, far from the others of their file: left out"
    return found, (f"{note} (first: {example})",) if num_rows else ()


def _right(times: Times, usual: int) -> tuple[int, int]:
    """Returns the places [begin, end) of the times that no long gap parts from the middle."""
    seconds, last = times.seconds, len(times.seconds) - 1
    share = np.cumsum(times.rows) / times.rows.sum()
    low = int(np.searchsorted(share, OUTER_SHARE, side="right"))
    high = int(np.searchsorted(share, 1 - OUTER_SHARE, side="left"))
    reach = max(int(seconds[high] - seconds[low]), usual)
    gaps = np.flatnonzero(np.diff(seconds) > reach)
    begin = gaps[gaps < low].max(initial=-1) + 1
    end = gaps[gaps >= high].min(initial=last) + 1
    return int(begin), int(end)
