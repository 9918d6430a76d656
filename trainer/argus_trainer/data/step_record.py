"""How one step of one server lies in memory: all that a batch shows of it, side by side.

The idea: with inputs, raw targets and weight in one record, a window is one run of memory and
a batch is one copy per window; what the network takes are views of it. A record has W lanes of
32 bits, and an even number of them, so that the categories' 64-bit codes are aligned.

    profile, state (int64) | reals (float32, order of `inputs.py`) | raw targets | weight
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_trainer.data.inputs import Inputs

if TYPE_CHECKING:
    from torch import Tensor

Lanes = TypeVar("Lanes", NDArray[Any], "Tensor")
"""An array or a tensor of records: [..., W] float32."""
LANE_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Record:
    """Where things stand in a record. Each method returns a view of `lanes`, never a copy."""

    num_categories: int
    num_reals: int
    num_targets: int

    @classmethod
    def of(cls, inputs: Inputs) -> "Record":
        return cls(
            num_categories=1 + inputs.has_status,
            num_reals=inputs.num_reals,
            num_targets=len(inputs.targets),
        )

    @property
    def width(self) -> int:
        """W, the lanes of a record."""
        used = self._weight_at + 1
        return used + used % 2

    @property
    def num_bytes(self) -> int:
        return self.width * LANE_BYTES

    def categories_of_array(self, lanes: NDArray[Any]) -> NDArray[np.int64]:
        """[..., C] int64."""
        codes: NDArray[np.int64] = lanes[..., : self._reals_at].view(np.int64)
        return codes

    def categories(self, lanes: "Tensor") -> "Tensor":
        """[..., C] int64."""
        # The layout alone, of which memory is planned, needs no torch.
        import torch

        return lanes[..., : self._reals_at].view(torch.int64)

    def reals(self, lanes: Lanes) -> Lanes:
        """[..., R]"""
        return lanes[..., self._reals_at : self._targets_at]

    def targets(self, lanes: Lanes) -> Lanes:
        """[..., N] in raw units."""
        return lanes[..., self._targets_at : self._weight_at]

    def weight(self, lanes: Lanes) -> Lanes:
        """[...]: 1 where the step was observed, else 0."""
        return lanes[..., self._weight_at]

    @property
    def _reals_at(self) -> int:
        return 2 * self.num_categories

    @property
    def _targets_at(self) -> int:
        return self._reals_at + self.num_reals

    @property
    def _weight_at(self) -> int:
        return self._targets_at + self.num_targets
