"""A block: the records of a span, scaled inputs beside raw targets, on the clock's own grid.

Scaling happens row by row in float64 from the decoded column, then float32, in the stock
class's order of operations: the same value gives the same bits there and here. Gaps of up to
data.gaps.maxGapSteps repeat the last row that was seen, calendar included, as the stock class does.
S servers, T steps with the halo, W lanes of a record, X lanes of a window.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from argus_contract.plan import Statistics
from argus_trainer.data.decode import Columns
from argus_trainer.data.inputs import Inputs, softplus_inverse, static_reals
from argus_trainer.data.place import place
from argus_trainer.data.schema import calendar
from argus_trainer.data.servers import Servers
from argus_trainer.data.step_record import Record
from argus_trainer.data.windows import (
    SERVER_SHIFT,
    Span,
    WindowRules,
    overlap,
    window_positions,
)


@dataclass(frozen=True, kw_only=True)
class ChunkGrid:
    """One decoded chunk on its own steps: what cannot be worked out from the clock."""

    steps: tuple[int, int]
    values_STV: NDArray[np.float32]
    """Scaled features, scaled targets, raw targets."""
    status_ST: NDArray[np.int16]
    """Code of the state: 0 is unknown, then the vocabulary."""
    observed_ST: NDArray[np.bool_]

    @property
    def num_bytes(self) -> int:
        return self.values_STV.nbytes + self.status_ST.nbytes + self.observed_ST.nbytes


@dataclass(frozen=True, kw_only=True)
class Block:
    """All that the windows of one span need."""

    span: Span
    windows_PX: Tensor
    """Row p is the run of `window` records from p on, as lanes: rows overlap, none is a copy."""
    positions: NDArray[np.int64]
    """[windows] their rows: server code * steps of the span + first step."""
    window: int
    """Steps of a window."""

    @property
    def num_bytes(self) -> int:
        return self.windows_PX.untyped_storage().nbytes() + self.positions.nbytes

    def ids(self, drawn: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Returns the ids of the windows with these indices, of all by default."""
        positions = self.positions if drawn is None else self.positions[drawn]
        # `windows.window_ids` of the codes and first steps that a position is made of, in four
        # passes: this is done for each batch.
        codes = positions // self.span.num_steps
        last = positions + (self.span.first + self.window - 1)
        ids: NDArray[np.int64] = codes * ((1 << SERVER_SHIFT) - self.span.num_steps) + last
        return ids


class Grid:
    """Puts chunks and blocks of one run onto the grid; holds no data."""

    def __init__(
        self, statistics: Statistics, rules: WindowRules, device: torch.device | None = None
    ) -> None:
        """Blocks are made for `device`."""
        self.inputs = Inputs.of(statistics)
        self.rules = rules
        self._device = device or torch.device("cpu")
        self._record = Record.of(self.inputs)
        self._cadence = statistics.cadence_seconds
        self._zone = statistics.time_zone
        servers = Servers.of(statistics)
        self._code_of_server = {name: code for code, name in enumerate(servers.names)}
        self._code_of_state = {name: code for code, name in enumerate(statistics.states, start=1)}
        self._profile_S = servers.profiles_S
        self._static_SK = static_reals(statistics, servers)
        num_calendar = len(self.inputs.calendar)
        self._calendar = statistics.features[:num_calendar]
        self._features = statistics.features[num_calendar:]
        self._targets = statistics.targets
        self._scalers_NS2 = servers.scalers_NS2

    def chunk(self, columns: Columns, steps: tuple[int, int]) -> ChunkGrid:
        """Returns a chunk with the steps [start, end) on the grid."""
        codes = [self._code_of_server.get(name, -1) for name in columns.servers.values]
        num_targets = len(self._targets)
        placed = place(columns, np.array(codes, dtype=np.int64), steps, self._cadence, num_targets)
        shape = (len(self._code_of_server), steps[1] - steps[0])
        at = (placed.servers, placed.steps)
        values = np.zeros((*shape, len(self._features) + 2 * num_targets), dtype=np.float32)
        values[at] = self._scaled_and_raw(columns.values[placed.rows], placed.servers)
        observed = np.zeros(shape, dtype=np.bool_)
        observed[at] = True
        status = np.zeros(shape, dtype=np.int16)
        if columns.status is not None:
            # The last entry answers the code -1 of a row without a state.
            known = [self._code_of_state.get(name, 0) for name in columns.status.values]
            status[at] = np.array([*known, 0], dtype=np.int16)[columns.status.codes[placed.rows]]
        return ChunkGrid(steps=steps, values_STV=values, status_ST=status, observed_ST=observed)

    def block(self, span: Span, chunks: Iterable[ChunkGrid]) -> Block:
        """Returns the block of a span from the chunks that overlap it, in order of time.

        A chunk is taken only when the one before it is done with.
        """
        inputs, record = self.inputs, self._record
        num_servers, num_steps = len(self._code_of_server), span.num_steps
        lanes = np.zeros((num_servers, num_steps, record.width), dtype=np.float32)
        reals = record.reals(lanes)
        measured = reals[..., inputs.relative_time_at + 1 :]
        targets = record.targets(lanes)
        categories = record.categories_of_array(lanes)
        observed = np.zeros((num_servers, num_steps), dtype=np.bool_)
        for chunk in chunks:
            theirs, ours = overlap(chunk.steps, span)
            seen = chunk.observed_ST[:, theirs, None]
            values = chunk.values_STV[:, theirs]
            num_measured = measured.shape[-1]
            np.copyto(measured[:, ours], values[..., :num_measured], where=seen)
            np.copyto(targets[:, ours], values[..., num_measured:], where=seen)
            if inputs.has_status:
                status = chunk.status_ST[:, theirs, None]
                np.copyto(categories[:, ours, 1:], status, where=seen)
            observed[:, ours] |= seen[..., 0]
        categories[..., 0] = self._profile_S[:, None]
        reals[..., : inputs.num_static] = self._static_SK[:, None]
        steps_T = np.arange(span.first, span.end)
        for index, feature in enumerate(self._calendar, start=inputs.num_static):
            known_T = calendar(steps_T, self._cadence, feature.name, self._zone)
            reals[..., index] = (known_T - feature.scaler.center) / feature.scaler.scale
        record.weight(lanes)[...] = observed
        _repeat_into_gaps(observed, lanes, self.rules.max_gap_steps)
        # A filled step counts nothing.
        record.weight(lanes)[~observed] = 0.0
        codes, first = window_positions(observed, span, self.rules)
        return Block(
            span=span,
            windows_PX=_windows(torch.from_numpy(lanes).to(self._device), self.rules.window),
            positions=codes * num_steps + first,
            window=self.rules.window,
        )

    def _scaled_and_raw(
        self, raw: NDArray[np.float64], servers: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Returns [rows, features + 2 * targets]; a feature without a value is 0."""
        num_features, num_targets = len(self._features), len(self._targets)
        values = np.empty((len(raw), num_features + 2 * num_targets), dtype=np.float32)
        for index, feature in enumerate(self._features):
            values[:, index] = (raw[:, index] - feature.scaler.center) / feature.scaler.scale
        for number, target in enumerate(self._targets):
            index = num_features + number
            inverse = softplus_inverse(raw[:, index], target.resolution)
            scaler = self._scalers_NS2[number, servers]
            values[:, index] = (inverse - scaler[:, 0]) / scaler[:, 1]
        values[:, num_features + num_targets :] = raw[:, num_features:]
        return np.nan_to_num(values, copy=False, nan=0.0)


def _windows(lanes_STW: Tensor, window: int) -> Tensor:
    servers, steps, width = lanes_STW.shape
    rows = servers * steps - window + 1
    return lanes_STW.as_strided((rows, window * width), (width, 1))


def _repeat_into_gaps(
    observed_ST: NDArray[np.bool_], lanes_STW: NDArray[np.float32], max_gap_steps: int
) -> None:
    """Fills the first `max_gap_steps` of a gap with the last step that was seen."""
    steps = observed_ST.shape[1]
    index_T = np.arange(steps)
    last_ST = np.maximum.accumulate(np.where(observed_ST, index_T, -steps), axis=1)
    servers, gaps = np.nonzero(~observed_ST & (index_T - last_ST <= max_gap_steps))
    lanes_STW[servers, gaps] = lanes_STW[servers, last_ST[servers, gaps]]
