"""The course of a training: how long it is and where a position stands in it. Arithmetic only."""

import hashlib
from dataclasses import dataclass

VIRTUAL_RANK = 0
"""Part of every seed, so that several ranks can draw apart one day and give the same run."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What the spec and the statistics decide about a training."""

    epochs: int
    max_steps: int | None
    """Ends training even inside an epoch."""
    steps_per_epoch: int
    chunks: int
    """Training chunks, for progress and for saving by chunks."""
    seed: int
    learning_rate: float
    target_weights: tuple[float, ...]
    """Relative weights of the targets in the loss."""

    @property
    def total_steps(self) -> int:
        """Steps at the planned end."""
        steps = self.epochs * self.steps_per_epoch
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def chunk(self, step_of_epoch: int) -> int:
        """Returns how many chunks of the epoch count as consumed.

        Windows are drawn from many chunks at once, so a chunk counts when the share of the
        epoch's windows that were drawn passes k / chunks.
        """
        return step_of_epoch * self.chunks // self.steps_per_epoch

    def step_seed(self, epoch: int, step_of_epoch: int) -> int:
        """Returns the seed of all randomness in one step, 0 <= seed < 2**63."""
        text = f"{self.seed}/{epoch}/{step_of_epoch}/{VIRTUAL_RANK}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
