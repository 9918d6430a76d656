"""What the loop tells while it runs. Values only: who listens decides what to show."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from argus_contract.ledger import StepManifest
from argus_trainer.training.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One optimizer step."""

    state: TrainingState
    """After the step."""
    loss: float
    window_ids: np.ndarray
    """[B] int64."""
    seconds: float
    """Wall time of the step, with the wait for its data."""
    wait_seconds: float
    """Part of it in which the model waited for data."""

    @property
    def num_windows(self) -> int:
        return len(self.window_ids)


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """A validation at the end of an epoch, or of the training inside one."""

    epoch: int
    """From 0."""
    state: TrainingState
    """After the epoch was closed."""
    seconds: float
    """Wall time of the epoch, over all attempts."""
    validation_seconds: float
    is_best: bool
    learning_rate: float
    """Used in this epoch."""


class Listener(Protocol):
    """Called in the training thread: must return quickly."""

    def untrained(self, state: TrainingState) -> None:
        """The validation before the first step is done."""

    def epoch_started(self, epoch: int) -> None:
        """The first step of an epoch comes next (not said again after a resume inside it)."""

    def step_done(self, event: StepDone) -> None:
        """An optimizer step is done."""

    def epoch_done(self, event: EpochDone) -> None:
        """A validation is done."""

    def saved(self, manifest: StepManifest) -> None:
        """A state became durable."""
