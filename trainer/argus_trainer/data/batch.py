"""Windows of resident blocks become one batch: a strided gather, no Python per sample.

A window of a [S, T, R] block is one run of memory, so a batch is as many copies as it has
windows, each of encoder or decoder length. B windows, E encoder and D decoder steps, R reals,
C categories; layout, types and order are those of pytorch-forecasting's own collate function.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from argus_contract.plan import Statistics
from argus_trainer.data.grid import Block
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.servers import Servers
from argus_trainer.data.windows import WindowRules

Part = tuple[Block, NDArray[np.int64]]
"""A block and the indices of those of its windows that are drawn."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one optimizer step sees."""

    x: dict[str, Any]
    """Input of TemporalFusionTransformer.forward: Tensors, or lists of them for several targets.
    encoder_cont [B, E, R], decoder_cont [B, D, R] float32; encoder_cat, decoder_cat [B, ., C]
    int64; encoder_target, decoder_target [B, .] raw; encoder_lengths, decoder_lengths [B];
    decoder_time_idx [B, D] absolute steps; groups [B, 1]; target_scale [B, 2]."""
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

    def __init__(self, statistics: Statistics, rules: WindowRules) -> None:
        self._rules = rules
        self._inputs = Inputs.of(statistics)
        of_servers = Servers.of(statistics)
        self._group_S, self._profile_S = of_servers.groups_S, of_servers.profiles_S
        self._scale_NS2 = of_servers.scalers_NS2.astype(np.float32)
        self._spread_NS = of_servers.spreads_NS.astype(np.float32)
        self._relative_L = (
            torch.arange(-rules.encoder, rules.decoder, dtype=torch.float32) / rules.encoder
        ).numpy()

    def batch(self, parts: Sequence[Part]) -> Batch:
        """Returns the drawn windows of all parts, in their order."""
        encoder, decoder = self._rules.encoder, self._rules.decoder
        servers = np.concatenate([block.servers[drawn] for block, drawn in parts])
        ids = np.concatenate([block.ids[drawn] for block, drawn in parts])
        first_step = np.concatenate([b.first[drawn] + b.span.first for b, drawn in parts])
        decoder_start = torch.from_numpy(first_step + encoder)
        past = [self._targets(parts, n, 0, encoder) for n in range(len(self._inputs.targets))]
        future = [
            self._targets(parts, n, encoder, decoder) for n in range(len(self._inputs.targets))
        ]
        scale = [torch.from_numpy(scale_S2[servers]) for scale_S2 in self._scale_NS2]
        several = len(future) > 1
        x = {
            "encoder_cat": self._categories(parts, servers, 0, encoder),
            "encoder_cont": self._reals(parts, 0, encoder),
            "encoder_target": past if several else past[0],
            "encoder_lengths": torch.full((len(ids),), encoder, dtype=torch.long),
            "decoder_cat": self._categories(parts, servers, encoder, decoder),
            "decoder_cont": self._reals(parts, encoder, decoder),
            "decoder_target": future if several else future[0],
            "decoder_lengths": torch.full((len(ids),), decoder, dtype=torch.long),
            "decoder_time_idx": decoder_start[:, None] + torch.arange(decoder),
            "groups": torch.from_numpy(self._group_S[servers][:, None]),
            "target_scale": scale if several else scale[0],
        }
        observed = _gathered(parts, [b.observed_ST for b, _ in parts], encoder, decoder, np.bool_)
        weight = torch.from_numpy(observed.astype(np.float32))
        spread = torch.from_numpy(self._spread_NS[:, servers])
        return Batch(x=x, y=future, spread=spread, weight=weight, window_ids=ids)

    def _reals(self, parts: Sequence[Part], skip: int, length: int) -> Tensor:
        reals = _gathered(parts, [b.reals_STR for b, _ in parts], skip, length, np.float32)
        reals[:, :, self._inputs.relative_time_at] = self._relative_L[skip : skip + length]
        return torch.from_numpy(reals)

    def _targets(self, parts: Sequence[Part], number: int, skip: int, length: int) -> Tensor:
        raw = [block.targets_NST[number] for block, _ in parts]
        return torch.from_numpy(_gathered(parts, raw, skip, length, np.float32))

    def _categories(
        self, parts: Sequence[Part], servers: NDArray[np.int64], skip: int, length: int
    ) -> Tensor:
        num_categories = 1 + self._inputs.has_status
        codes = np.empty((len(servers), length, num_categories), dtype=np.int64)
        codes[:, :, 0] = self._profile_S[servers][:, None]
        if self._inputs.has_status:
            status = [block.status_ST for block, _ in parts]
            codes[:, :, 1] = _gathered(parts, status, skip, length, np.int16)
        return torch.from_numpy(codes)


def _gathered(
    parts: Sequence[Part],
    arrays: Sequence[NDArray[Any]],
    skip: int,
    length: int,
    dtype: type[np.generic],
) -> NDArray[Any]:
    """Returns [B, length, ...]: of each drawn window the steps from `skip` on.

    `arrays` holds for each part a C-ordered [S, T, ...] array of its block.
    """
    rest = arrays[0].shape[2:]
    width = math.prod(rest)
    total = sum(len(drawn) for _, drawn in parts)
    out = np.empty((total, length * width), dtype=dtype)
    row = 0
    for (block, drawn), array_ST in zip(parts, arrays, strict=True):
        servers, steps = array_ST.shape[:2]
        size = array_ST.itemsize
        # Row p is the `length` steps from flat position p = server * T + step on.
        windows = np.lib.stride_tricks.as_strided(
            array_ST,
            shape=(servers * steps - length + 1, length * width),
            strides=(width * size, size),
            writeable=False,
        )
        position = block.servers[drawn] * steps + block.first[drawn] + skip
        out[row : row + len(drawn)] = windows[position]
        row += len(drawn)
    return out.reshape(total, length, *rest)
