"""A loss that is not finite, with all that is needed to meet it again."""

from dataclasses import dataclass

import numpy as np

from argus_trainer.errors import DivergedError
from argus_trainer.training.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class BrokenBatch:
    """The batch whose loss or gradient is not finite; the weights are those before it."""

    part: str
    """training or validation."""
    state: TrainingState
    """Before it."""
    seed: int
    loss: float
    gradient_norm: float | None = None
    window_ids: np.ndarray
    """[B] int64."""


class BatchDiverged(DivergedError):
    """Raised before the weights change."""

    def __init__(self, message: str, batch: BrokenBatch) -> None:
        super().__init__(message)
        self.batch = batch
