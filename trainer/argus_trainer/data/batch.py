"""Windows of blocks become one batch: one copy per window, no Python per sample.

A window is one run of memory in its block (`record.py`), so a batch is gathered by index from
all windows of a block seen as overlapping rows. What the network takes are views of the
gathered records, in the layout, types and order of pytorch-forecasting's own collate function.
Blocks on a GPU are gathered there: only the indices travel. Batches of blocks on the host go to
a GPU through pinned memory, in one copy each.

B windows, E encoder and D decoder steps, R reals, C categories, N targets, W lanes, X lanes of a
window.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from argus_contract.plan import Statistics
from argus_trainer.data.buffers import Buffers
from argus_trainer.data.grid import Block
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.servers import Servers
from argus_trainer.data.step_record import Record
from argus_trainer.data.windows import SERVER_SHIFT, WindowRules

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one optimizer step sees."""

    x: dict[str, Any]
    """Input of TemporalFusionTransformer.forward: Tensors, or lists of them for several targets.
    encoder_cont [B, E, R], decoder_cont [B, D, R] float32; encoder_cat, decoder_cat [B, ., C]
    int64; encoder_target, decoder_target [B, .] raw; encoder_lengths, decoder_lengths [B];
    decoder_time_idx [B, D] absolute steps; groups [B, 1]; target_scale [B, 2]. They are views
    of shared memory: not to be written to."""
    y: list[Tensor]
    """Per target [B, D] in raw units."""
    spread: Tensor
    """[N, B] float32: of each of the N targets its server's spread in raw units, for the loss."""
    weight: Tensor
    """[B, D] float32: 0 where the decoder step was filled."""
    window_ids: NDArray[np.int64]
    """[B] server code * 2**40 + absolute last step."""


class Gather:
    """Makes batches of one run from its blocks."""

    def __init__(
        self,
        statistics: Statistics,
        rules: WindowRules,
        batch_size: int,
        *,
        device: torch.device = CPU,
        blocks_on: torch.device = CPU,
    ) -> None:
        """Batches come on `device`, from blocks that are there or on the host."""
        self._device, self._blocks_on = device, blocks_on
        self._rules = rules
        self._batch_size = batch_size
        self._inputs = Inputs.of(statistics)
        self._record = Record.of(self._inputs)
        self._row_floats = rules.window * self._record.width
        self._buffers = Buffers(batch_size * self._row_floats)
        of_servers = Servers.of(statistics)
        self._group_S = torch.from_numpy(of_servers.groups_S).to(device)
        self._scale_NS2 = torch.from_numpy(of_servers.scalers_NS2).float().to(device)
        self._spread_NS = torch.from_numpy(of_servers.spreads_NS).float().to(device)
        steps_L = torch.arange(-rules.encoder, rules.decoder, dtype=torch.float32)
        self._relative_L = (steps_L / rules.encoder).to(device)
        self._ahead_D = torch.arange(1 - rules.decoder, 1, device=device)
        self._lengths = torch.tensor([rules.encoder, rules.decoder], device=device)

    def draft(self) -> "Draft":
        """Returns an empty batch, for windows of blocks."""
        return Draft(self, self._batch_size)

    def memory(self) -> Tensor:
        """Returns [B, X] float32 with any content, where the blocks are."""
        if self._device == self._blocks_on == CPU:
            flat = self._buffers.take()
        else:
            # torch keeps memory of a device, and pinned memory once it was read, for the next
            # tensor of this size by itself.
            flat = torch.empty(
                self._batch_size * self._row_floats,
                device=self._blocks_on,
                pin_memory=self._device.type == "cuda" and self._blocks_on == CPU,
            )
        return flat.view(self._batch_size, self._row_floats)

    def copy(self, block: Block, drawn: NDArray[np.int64], rows_BX: Tensor) -> None:
        """Copies the windows with these indices."""
        index = torch.from_numpy(block.positions[drawn]).to(self._blocks_on)
        torch.index_select(block.windows_PX, 0, index, out=rows_BX)

    def batch(self, rows_BX: Tensor, ids: NDArray[np.int64]) -> Batch:
        """Returns the batch over gathered rows."""
        encoder, decoder, record = self._rules.encoder, self._rules.decoder, self._record
        # The network's work comes after it on the same stream, so nobody has to wait for it.
        rows_BX = rows_BX.to(self._device, non_blocking=True)
        records_BLW = rows_BX.view(len(ids), encoder + decoder, record.width)
        reals = record.reals(records_BLW)
        # The one input that depends on the window as well as on the step.
        reals[:, :, self._inputs.relative_time_at] = self._relative_L
        past, future = records_BLW[:, :encoder], records_BLW[:, encoder:]
        codes = torch.from_numpy(ids).to(self._device)
        servers, last = codes >> SERVER_SHIFT, codes & ((1 << SERVER_SHIFT) - 1)
        past_targets = list(record.targets(past).unbind(-1))
        targets = list(record.targets(future).unbind(-1))
        scale = list(self._scale_NS2.index_select(1, servers).unbind())
        several = len(targets) > 1
        x = {
            "encoder_cat": record.categories(past),
            "encoder_cont": reals[:, :encoder],
            "encoder_target": past_targets if several else past_targets[0],
            "encoder_lengths": self._lengths[0].expand(len(ids)),
            "decoder_cat": record.categories(future),
            "decoder_cont": reals[:, encoder:],
            "decoder_target": targets if several else targets[0],
            "decoder_lengths": self._lengths[1].expand(len(ids)),
            "decoder_time_idx": last[:, None] + self._ahead_D,
            "groups": self._group_S.index_select(0, servers)[:, None],
            "target_scale": scale if several else scale[0],
        }
        return Batch(
            x=x,
            y=targets,
            spread=self._spread_NS.index_select(1, servers),
            weight=record.weight(future),
            window_ids=ids,
        )


class Draft:
    """Copies of the windows that are drawn for a batch. It holds no block."""

    def __init__(self, gather: Gather, num_windows: int) -> None:
        self._gather = gather
        self.missing = num_windows
        """Windows until it is full."""
        self._ids: list[NDArray[np.int64]] = []
        self._copied = 0

    def add(self, drawn: Iterable[tuple[Block, NDArray[np.int64]]]) -> None:
        """Copies windows of blocks: at most `missing`, as indices among those of the block."""
        with alone():
            for block, windows in drawn:
                begin, self._copied = self._copied, self._copied + len(windows)
                self._gather.copy(block, windows, self._rows[begin : self._copied])
                self._ids.append(block.ids(windows))
                self.missing -= len(windows)

    def make(self) -> Batch:
        """Returns the windows in the order in which they were added; at least one."""
        return self._gather.batch(self._rows[: self._copied], np.concatenate(self._ids))

    @cached_property
    def _rows(self) -> Tensor:
        return self._gather.memory()


@contextmanager
def alone() -> Iterator[None]:
    """Has the calling thread do the work of its torch calls by itself.

    In copies of a batch's size the threads of a parallel call wait for each other longer than they
    work as soon as anything else runs. `torch.set_num_threads` would empty caches and change
    what other threads begin with.
    """
    # torch gives a thread its number when the thread first needs it: that must not come later.
    torch.get_num_threads()
    with _openmp().limit(limits=1):
        yield


@cache
def _openmp() -> ThreadpoolController:
    """Returns what sets the number of threads; finding it takes milliseconds."""
    return ThreadpoolController().select(user_api="openmp")
