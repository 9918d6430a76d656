"""What a training is made of at one instant, and how it goes to disk and back.

A state is numbers (`TrainingState`, JSON) and tensors by stable name:

    model.<parameter>                    weights
    optimizer.exp_avg.<parameter>        Adam's first moment; also exp_avg_sq and step
    best.<parameter>                     weights of the best validation, once there was one

Position is a number and randomness is no state: order and dropout follow from the seed and
the position. So a state says all that the next step depends on.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from argus_contract.model import Model
from argus_trainer.errors import DataError, DivergedError
from argus_trainer.wording import problems_of

FORMAT = 1
"""Version of this layout; another one is refused."""


class Finish(StrEnum):
    """Why training came to its end."""

    EPOCHS = "Epochs"
    MAX_STEPS = "MaxSteps"
    EARLY_STOPPING = "EarlyStopping"


class Best(Model):
    """The best validation so far."""

    val_loss: float
    epoch: int
    """From 0."""
    step: int


class Plateau(Model):
    """Memory of ReduceLROnPlateau."""

    best: float | None = None
    num_bad_epochs: int = 0
    last_epoch: int = 0


class TrainingState(Model):
    """The numbers of a state."""

    format: int = FORMAT
    epoch: int = 0
    """Epoch of the next step, from 0."""
    step_of_epoch: int = 0
    """Steps done in that epoch. All of them done: its validation is next."""
    step: int = 0
    """Steps done over all epochs."""
    windows: int = 0
    """Windows trained on, over all epochs."""
    windows_digest: str = ""
    """Chain over the ids of all windows trained on, in order: `chain`."""
    next_batch_digest: str | None = None
    """Digest of the ids of the next batch, where it was known already."""
    learning_rate: float
    plateau: Plateau = Plateau()
    untrained_val_loss: float | None = None
    """Validation loss before the first step; measured once."""
    val_loss: float | None = None
    """Newest validation loss."""
    best: Best | None = None
    validations_without_best: int = 0
    """For early stopping."""
    train_loss: float | None = None
    """Mean training loss of the last whole epoch."""
    loss_sum: float = 0.0
    """Sum of the step losses of the current epoch."""
    epoch_seconds: float = 0.0
    """Time spent in the current epoch, over all attempts."""
    train_seconds: float = 0.0
    """Time spent in training, over all attempts."""
    finish: Finish | None = None
    """Set when nothing is left to train."""

    @property
    def newest_train_loss(self) -> float | None:
        """Mean loss of the current epoch so far, else of the last whole one."""
        return self.loss_sum / self.step_of_epoch if self.step_of_epoch else self.train_loss


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A state on the host: nothing in it is shared with the running training."""

    state: TrainingState
    tensors: dict[str, Tensor]

    def refuse_broken(self) -> None:
        """Raises DivergedError for a value that is not finite: such a state is never saved."""
        for name, tensor in self.tensors.items():
            if not torch.isfinite(tensor).all():
                raise DivergedError(
                    f"step {self.state.step}: {name} holds a value that is not finite: use a lower "
                    f"training.learningRate than {self.state.learning_rate:g}"
                )


def ids_digest(window_ids: np.ndarray) -> str:
    """Returns the digest of one batch's window ids, [B] int64."""
    return hashlib.sha256(_bytes_of(window_ids)).hexdigest()


def chain(digest: str, window_ids: np.ndarray) -> str:
    """Returns the chain `digest` grown by one batch; "" begins a chain."""
    return hashlib.sha256(bytes.fromhex(digest) + _bytes_of(window_ids)).hexdigest()


def read_state(numbers: dict[str, object]) -> TrainingState:
    """Returns the state of a checkpoint's JSON. Raises DataError for one that cannot be read."""
    found = numbers.get("format")
    if found != FORMAT:
        raise DataError(
            f"checkpoint: state has format {found!r} and this trainer reads {FORMAT}: go on with "
            "the image that wrote it, or start a new run with another runToken"
        )
    try:
        return TrainingState.model_validate(numbers)
    except ValidationError as error:
        raise DataError(
            f"checkpoint: state cannot be read: {problems_of(error)}: go on with the image that "
            "wrote it, or start a new run with another runToken"
        ) from error


def _bytes_of(window_ids: np.ndarray) -> bytes:
    return np.ascontiguousarray(window_ids, dtype="<i8").tobytes()
