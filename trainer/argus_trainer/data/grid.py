"""A block: scaled inputs, raw targets and mask on the clock's own grid.

Scaling happens row by row in float64 from the decoded column, then float32, in the stock
class's order of operations: the same value gives the same bits there and here. Gaps of up to
data.gaps.maxGapSteps repeat the last row that was seen, calendar included, as the stock class does.
S servers, T steps with the halo, R real inputs in the order of `inputs.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argus_contract.plan import Statistics
from argus_trainer.data.decode import Columns
from argus_trainer.data.inputs import Inputs, softplus_inverse, static_reals
from argus_trainer.data.place import place
from argus_trainer.data.schema import calendar
from argus_trainer.data.servers import Servers
from argus_trainer.data.windows import (
    Span,
    WindowRules,
    overlap,
    window_ids,
    window_positions,
)


@dataclass(frozen=True, kw_only=True)
class ChunkGrid:
    """One decoded chunk on its own steps."""

    steps: tuple[int, int]
    varying_STV: NDArray[np.float32]
    """Scaled calendar, features and targets."""
    targets_NST: NDArray[np.float32]
    """Raw targets."""
    status_ST: NDArray[np.int16]
    """Code of the state: 0 is unknown, then the vocabulary."""
    observed_ST: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Block:
    """All that the windows of one span need."""

    span: Span
    reals_STR: NDArray[np.float32]
    """All real inputs; the relative time is 0 here, as it depends on the window."""
    targets_NST: NDArray[np.float32]
    status_ST: NDArray[np.int16]
    observed_ST: NDArray[np.bool_]
    servers: NDArray[np.int64]
    """[windows] server codes."""
    first: NDArray[np.int64]
    """[windows] first steps, relative to the grid."""
    ids: NDArray[np.int64]


class Grid:
    """Puts chunks and blocks of one run onto the grid; holds no data."""

    def __init__(self, statistics: Statistics, rules: WindowRules) -> None:
        self.inputs = Inputs.of(statistics)
        self.rules = rules
        self._cadence = statistics.cadence_seconds
        self._zone = statistics.time_zone
        servers = Servers.of(statistics)
        self._code_of_server = {name: code for code, name in enumerate(servers.names)}
        self._code_of_state = {name: code for code, name in enumerate(statistics.states, start=1)}
        self._static_SK = static_reals(statistics, servers)
        self._features = statistics.features
        self._targets = statistics.targets
        self._scalers_NS2 = servers.scalers_NS2

    def chunk(self, columns: Columns, steps: tuple[int, int]) -> ChunkGrid:
        """Returns a chunk with the steps [start, end) on the grid."""
        codes = [self._code_of_server.get(name, -1) for name in columns.servers.values]
        num_targets = len(self._targets)
        placed = place(columns, np.array(codes, dtype=np.int64), steps, self._cadence, num_targets)
        shape = (len(self._code_of_server), steps[1] - steps[0])
        at = (placed.servers, placed.steps)
        raw = columns.values[placed.rows]
        num_features = raw.shape[1] - num_targets
        varying = np.zeros((*shape, len(self._features) + num_targets), dtype=np.float32)
        varying[at] = self._scaled(raw, placed.servers, placed.steps + steps[0])
        targets = np.zeros((num_targets, *shape), dtype=np.float32)
        targets[:, *at] = raw[:, num_features:].T
        observed = np.zeros(shape, dtype=np.bool_)
        observed[at] = True
        status = np.zeros(shape, dtype=np.int16)
        if columns.status is not None:
            # The last entry answers the code -1 of a row without a state.
            known = [self._code_of_state.get(name, 0) for name in columns.status.values]
            status[at] = np.array([*known, 0], dtype=np.int16)[columns.status.codes[placed.rows]]
        return ChunkGrid(
            steps=steps,
            varying_STV=varying,
            targets_NST=targets,
            status_ST=status,
            observed_ST=observed,
        )

    def block(self, span: Span, chunks: Sequence[ChunkGrid]) -> Block:
        """Returns the block of a span from the chunks that overlap it, in order of time."""
        inputs = self.inputs
        shape = (len(self._code_of_server), span.num_steps)
        reals = np.zeros((*shape, inputs.num_reals), dtype=np.float32)
        targets = np.zeros((len(self._targets), *shape), dtype=np.float32)
        status = np.zeros(shape, dtype=np.int16)
        observed = np.zeros(shape, dtype=np.bool_)
        num_calendar = len(inputs.calendar)
        for chunk in chunks:
            theirs, ours = overlap(chunk.steps, span)
            seen = chunk.observed_ST[:, theirs]
            varying = chunk.varying_STV[:, theirs]
            part = reals[:, ours]
            part[seen, inputs.num_static : inputs.relative_time_at] = varying[seen, :num_calendar]
            part[seen, inputs.relative_time_at + 1 :] = varying[seen, num_calendar:]
            targets[:, :, ours][:, seen] = chunk.targets_NST[:, :, theirs][:, seen]
            status[:, ours][seen] = chunk.status_ST[:, theirs][seen]
            observed[:, ours] |= seen
        reals[:, :, : inputs.num_static] = self._static_SK[:, None]
        _repeat_into_gaps(observed, reals, targets, status, self.rules.max_gap_steps)
        servers, first = window_positions(observed, span, self.rules)
        return Block(
            span=span,
            reals_STR=reals,
            targets_NST=targets,
            status_ST=status,
            observed_ST=observed,
            servers=servers,
            first=first,
            ids=window_ids(servers, first, span, self.rules),
        )

    def _scaled(
        self,
        raw: NDArray[np.float64],
        servers: NDArray[np.int64],
        steps: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Returns [rows, calendar + features + targets]; a feature without a value is 0."""
        scaled = np.empty((len(raw), len(self._features) + len(self._targets)), dtype=np.float32)
        num_calendar = len(self.inputs.calendar)
        for index, feature in enumerate(self._features):
            if index < num_calendar:
                values = calendar(steps, self._cadence, feature.name, self._zone)
            else:
                values = raw[:, index - num_calendar]
            scaled[:, index] = (values - feature.scaler.center) / feature.scaler.scale
        for number, target in enumerate(self._targets):
            index = len(self._features) + number
            inverse = softplus_inverse(raw[:, index - num_calendar], target.resolution)
            scaler = self._scalers_NS2[number, servers]
            scaled[:, index] = (inverse - scaler[:, 0]) / scaler[:, 1]
        return np.nan_to_num(scaled, copy=False, nan=0.0)


def _repeat_into_gaps(
    observed_ST: NDArray[np.bool_],
    reals_STR: NDArray[np.float32],
    targets_NST: NDArray[np.float32],
    status_ST: NDArray[np.int16],
    max_gap_steps: int,
) -> None:
    """Fills the first `max_gap_steps` of a gap with the last step that was seen."""
    steps = observed_ST.shape[1]
    index_T = np.arange(steps)
    last_ST = np.maximum.accumulate(np.where(observed_ST, index_T, -steps), axis=1)
    servers, gaps = np.nonzero(~observed_ST & (index_T - last_ST <= max_gap_steps))
    last = last_ST[servers, gaps]
    reals_STR[servers, gaps] = reals_STR[servers, last]
    targets_NST[:, servers, gaps] = targets_NST[:, servers, last]
    status_ST[servers, gaps] = status_ST[servers, last]
