"""The data of a run as the loop sees it: batches from any place, and frames for the stock class.

Streaming is a memory budget, not another training: the same batches come whether all blocks
stay or only those of the current place. `memory.py` tells what is in memory at once.
"""

from collections.abc import Callable, Generator

import pandas as pd
import torch

from argus_contract.plan import Plan, Statistics
from argus_contract.spec import TrainingSpec
from argus_trainer.data.batch import CPU, Batch, Gather
from argus_trainer.data.blocks import BlockReader
from argus_trainer.data.chunk_reader import ChunkReader
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.frame import rows_of_window
from argus_trainer.data.grid import Grid
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.kept import KeptBlocks, KeptChunks
from argus_trainer.data.memory import Shares
from argus_trainer.data.order import EpochOrder
from argus_trainer.data.pins import Pins
from argus_trainer.data.rules import Rules
from argus_trainer.data.servers import Servers
from argus_trainer.data.windows import (
    SERVER_SHIFT,
    WindowRules,
    object_steps,
    training_spans,
    validation_spans,
)
from argus_trainer.storage.store import Source


def _go_on() -> None:
    return None


class Dataset:
    """Training and validation windows of a plan. Holds no open thread between iterations."""

    def __init__(
        self,
        source: Source,
        plan: Plan,
        statistics: Statistics,
        rules: WindowRules,
        training: TrainingSpec,
        *,
        reading: Rules,
        shares: Shares,
        pins: Pins | None = None,
        device: torch.device = CPU,
        blocks_on: torch.device = CPU,
        check: Callable[[], None] = _go_on,
    ) -> None:
        """`check` is called while an iteration waits for data; what it raises ends it.

        With `pins` objects may change under the run. Batches come on `device`; blocks stay
        there or on the host.
        """
        self._fetcher = Fetcher(
            source, max_bytes=shares.fetch_bytes, slice_bytes=shares.slice_bytes, pins=pins
        )
        self._plan, self._statistics = plan, statistics
        self._rules = rules
        inputs = Inputs.of(statistics)
        self._reader = ChunkReader(
            source.uri,
            plan.objects,
            reading,
            self._fetcher.fetch,
            inputs.metrics,
            status=inputs.has_status,
            profile=False,
        )
        self._batch_size = training.batch_size
        self._windows_per_epoch = training.windows_per_epoch
        self._blocks_ahead = shares.blocks_ahead
        self._check = check
        grid = Grid(statistics, rules, blocks_on)
        self._gather = Gather(
            statistics, rules, training.batch_size, device=device, blocks_on=blocks_on
        )
        cadence = statistics.cadence_seconds
        kept_blocks = KeptBlocks(shares.block_bytes)
        kept_chunks = KeptChunks(shares.chunk_bytes)
        self._training = BlockReader(
            self._fetcher,
            plan,
            statistics,
            self._reader,
            grid,
            training_spans(plan, cadence, rules),
            statistics.training_blocks,
            kept_blocks=kept_blocks,
            kept_chunks=kept_chunks,
        )
        self._validation = BlockReader(
            self._fetcher,
            plan,
            statistics,
            self._reader,
            grid,
            validation_spans(plan, cadence, rules),
            statistics.validation_blocks,
            kept_blocks=kept_blocks,
            kept_chunks=kept_chunks,
        )

    @property
    def steps_per_epoch(self) -> int:
        return self._statistics.steps_per_epoch

    def training_batches(self, epoch: int, first_step: int = 0) -> Generator[Batch, None, None]:
        """Yields the batches of an epoch (from 0) from `first_step` on; the last may be short.

        Nothing before `first_step` is read. Raises DataError for an object that changed.
        """
        order = EpochOrder(
            [block.windows for block in self._statistics.training_blocks],
            seed=self._plan.seed,
            epoch=epoch,
            mix_width=self._plan.mix_width,
            most_windows=self._windows_per_epoch,
        )
        return self._batches(self._training, order, first_step * self._batch_size)

    def validation_batches(self) -> Generator[Batch, None, None]:
        """Yields all validation windows in the order of time, block by block."""
        order = EpochOrder([block.windows for block in self._statistics.validation_blocks])
        return self._batches(self._validation, order, 0)

    def sample_frame(self) -> pd.DataFrame:
        """Returns the rows of one training window, for `reference.fitted_dataset`."""
        order = EpochOrder([block.windows for block in self._statistics.training_blocks])
        group = order.groups[0]
        with self._training.ahead(group.blocks, 0, self._check) as take:
            return self.frame(int(take().ids()[0]))

    def frame(self, window_id: int) -> pd.DataFrame:
        """Returns the rows of a window as the stock TimeSeriesDataSet takes them, by time."""
        server = Servers.of(self._statistics).names[window_id >> SERVER_SHIFT]
        end = window_id & ((1 << SERVER_SHIFT) - 1)
        first = end - self._rules.window + 1
        chunks = []
        for index, pinned in enumerate(self._plan.objects[: self._plan.split.validation_end]):
            steps = object_steps(pinned, self._statistics.cadence_seconds)
            if steps[1] > first and steps[0] <= end:
                file = self._reader.open(index, self._fetcher.fetch(pinned))
                chunks.append((self._reader.columns(index, file), steps))
        return rows_of_window(chunks, self._statistics, server, first, end)

    def _batches(
        self, reader: BlockReader, order: EpochOrder, place: int
    ) -> Generator[Batch, None, None]:
        """Yields the batches from a place on; only the last may be short."""
        groups = order.groups_from(place)
        upcoming = [block for group in groups for block in group.blocks]
        left = order.windows - place
        draft = self._gather.draft()
        with reader.ahead(upcoming, self._blocks_ahead, self._check) as take:
            for group in groups:
                blocks = {index: take() for index in group.blocks}
                permutation = order.permutation(group)
                at = max(place - group.begin, 0)
                while at < len(permutation):
                    drawn = permutation[at : at + draft.missing]
                    draws = order.draws(group, drawn)
                    draft.add((blocks[draw.block], draw.windows) for draw in draws)
                    at += len(drawn)
                    left -= len(drawn)
                    if not (draft.missing and left):
                        yield draft.make()
                        draft = self._gather.draft()
                # Other blocks come only when nothing holds these any longer.
                blocks.clear()
