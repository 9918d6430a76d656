"""Rows of any times become one row for each server and step, when `data.cadenceSeconds` is set.

A step is named by its end t and gathers the rows of (t - cadence, t], so nothing is known
before it was measured. Of rows that repeat a server and a time the last one written counts; a
value that is missing takes no part; of labels the last one of a step counts. Rows are summed
in the order of time, whatever files they stood in, so the same rows give the same bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from argus_contract.data_spec import Aggregate
from argus_trainer.data.clock import MICROS
from argus_trainer.data.decode import Columns
from argus_trainer.data.labels import Labels, joined
from argus_trainer.data.rules import Rules

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


def stacked(parts: Sequence[Columns], *, counted: Columns) -> Columns:
    """Returns the rows of several files as one, with the counts of `counted`."""
    statuses = [part.status for part in parts if part.status is not None]
    profiles = [part.profiles for part in parts if part.profiles is not None]
    return replace(
        counted,
        micros=np.concatenate([part.micros for part in parts]),
        servers=joined([part.servers for part in parts]),
        status=joined(statuses) if statuses else None,
        profiles=joined(profiles) if profiles else None,
        values=np.concatenate([part.values for part in parts]),
    )


def between(columns: Columns, start: int, end: int) -> Columns:
    """Returns the rows of [start, end), in microseconds."""
    inside = (columns.micros >= start) & (columns.micros < end)
    return columns if inside.all() else columns.at(np.flatnonzero(inside))


def gathered(columns: Columns, metrics: Sequence[str], rules: Rules) -> Columns:
    """Returns one row for each server and step that has rows; its time is the step's end."""
    if not len(columns.micros):
        return columns
    # Stable: rows of one time stay in the order in which they were written.
    order = np.lexsort((columns.micros, columns.servers.codes))
    columns = columns.at(order)
    resent = _equals_next(columns.servers.codes) & _equals_next(columns.micros)
    columns = columns.at(np.flatnonzero(~resent))
    cadence = rules.cadence_seconds * MICROS
    steps = -(-columns.micros // cadence)
    ends_step = ~(_equals_next(columns.servers.codes) & _equals_next(steps))
    last = np.flatnonzero(ends_step)
    begins = np.concatenate([[0], last[:-1] + 1])
    values = np.empty((len(last), len(metrics)))
    for index, name in enumerate(metrics):
        aggregate = _AGGREGATES[rules.aggregates.get(name, Aggregate.MEAN)]
        values[:, index] = aggregate(columns.values[:, index], begins)
    return replace(
        columns,
        micros=steps[last] * cadence,
        servers=columns.servers.at(last),
        status=_last_label(columns.status, begins),
        profiles=_last_label(columns.profiles, begins),
        values=values,
        duplicates=columns.duplicates + int(np.count_nonzero(resent)),
    )


def _equals_next(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    equal = np.zeros(len(values), dtype=np.bool_)
    np.equal(values[1:], values[:-1], out=equal[:-1])
    return equal


def _mean(values: Floats, begins: Places) -> Floats:
    count = np.add.reduceat(~np.isnan(values), begins, dtype=np.int64)
    sums = np.add.reduceat(np.nan_to_num(values, nan=0.0), begins)
    means: Floats = np.divide(sums, count, out=np.full(len(begins), np.nan), where=count > 0)
    return means


def _sum(values: Floats, begins: Places) -> Floats:
    seen = np.logical_or.reduceat(~np.isnan(values), begins)
    return np.where(seen, np.add.reduceat(np.nan_to_num(values, nan=0.0), begins), np.nan)


def _last(values: Floats, begins: Places) -> Floats:
    place = _last_place(~np.isnan(values), begins)
    return np.where(place >= 0, values[place], np.nan)


def _last_place(there: NDArray[np.bool_], begins: Places) -> Places:
    """Returns the place of the last of each step that is there, -1 without one."""
    places: Places = np.maximum.reduceat(np.where(there, np.arange(len(there)), -1), begins)
    return places


def _last_label(labels: Labels | None, begins: Places) -> Labels | None:
    if labels is None:
        return None
    place = _last_place(labels.codes >= 0, begins)
    return Labels(codes=np.where(place >= 0, labels.codes[place], -1), values=labels.values)


_AGGREGATES: dict[Aggregate, Callable[[Floats, Places], Floats]] = {
    Aggregate.MEAN: _mean,
    Aggregate.LAST: _last,
    Aggregate.MAX: np.fmax.reduceat,
    Aggregate.MIN: np.fmin.reduceat,
    Aggregate.SUM: _sum,
}
