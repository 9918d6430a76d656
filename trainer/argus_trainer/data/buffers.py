"""Memory of batches that is used again once nobody looks at it.

Fresh memory costs a page fault for every 4 KiB, as much as the copy of a batch into it. A
buffer goes back when the last tensor over it is gone, whoever held it: a batch that was
handed out is never overwritten.
"""

import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Buffers:
    """Gives buffers of one size; as many exist as were in use at once."""

    def __init__(self, num_floats: int) -> None:
        self._num_floats = num_floats
        self._free: list[NDArray[np.float32]] = []

    def take(self) -> Tensor:
        """Returns [num_floats] float32 with any content."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self._num_floats, dtype=np.float32)
        # torch keeps this view, not the memory, as long as any tensor shares its storage.
        lent = memory.view()
        back = weakref.finalize(lent, self._free.append, memory)
        back.atexit = False
        return torch.from_numpy(lent)
