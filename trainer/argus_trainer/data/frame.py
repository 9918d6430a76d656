"""Rows of one window as pytorch-forecasting's TimeSeriesDataSet takes them.

A consumer of a bundle makes such a frame from metrics of its own: raw units, one row for each
observed step, `time_idx` = seconds since 1970 // cadence.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from argus_contract.plan import Statistics
from argus_trainer.data.decode import Columns
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.place import place
from argus_trainer.data.schema import PROFILE, SERVER, STATUS, calendar
from argus_trainer.data.servers import Servers

TIME = "time_idx"
UNKNOWN = "nan"
"""Label of a state that a row does not have; the stock encoder gives it code 0."""


def frame_columns(statistics: Statistics) -> tuple[str, ...]:
    """Returns the columns that a frame needs."""
    inputs = Inputs.of(statistics)
    labels = (PROFILE, STATUS) if inputs.has_status else (PROFILE,)
    return (TIME, SERVER, *labels, *inputs.calendar, *inputs.metrics)


def rows_of_window(
    chunks: Sequence[tuple[Columns, tuple[int, int]]],
    statistics: Statistics,
    server: str,
    first: int,
    end: int,
) -> pd.DataFrame:
    """Returns the observed rows of `server` in the steps [first, end], by time.

    `chunks` are columns of the inputs' metrics with the steps of their object. A feature
    without a value gets its center, which is what the scaled inputs hold there.
    """
    inputs = Inputs.of(statistics)
    frames = []
    for columns, steps in chunks:
        codes = np.array([0 if n == server else -1 for n in columns.servers.values], dtype=np.int64)
        placed = place(columns, codes, steps, statistics.cadence_seconds, len(inputs.targets))
        rows = placed.rows[np.argsort(placed.steps)]
        frame = pd.DataFrame(columns.values[rows], columns=list(inputs.metrics))
        frame.insert(0, TIME, np.sort(placed.steps) + steps[0])
        if columns.status is not None:
            labels = np.array([*columns.status.values, UNKNOWN], dtype=object)
            frame[STATUS] = labels[columns.status.codes[rows]]
        frames.append(frame)
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[(frame[TIME] >= first) & (frame[TIME] <= end)].reset_index(drop=True)
    steps_n = frame[TIME].to_numpy(dtype=np.int64)
    for name in inputs.calendar:
        frame[name] = calendar(steps_n, statistics.cadence_seconds, name, statistics.time_zone)
    for feature in statistics.features:
        frame[feature.name] = frame[feature.name].fillna(feature.scaler.center)
    frame[SERVER] = server
    servers = Servers.of(statistics)
    frame[PROFILE] = servers.profiles[servers.names.index(server)]
    return frame[list(frame_columns(statistics))]
