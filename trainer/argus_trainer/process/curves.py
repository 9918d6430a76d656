"""Curves of a training for TensorBoard: losses, learning rate, samples per second.

The training only appends numbers; files are written by whoever uploads them. So curves cost the
training no time, and no bit. A point of the training's own curves is the mean over some seconds
of steps: a file stays small however long a run is.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from argus_contract.ledger import StepManifest
from argus_trainer.training.events import EpochDone, StepDone
from argus_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

POINT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Point:
    name: str
    value: float
    step: int
    time: float
    """Seconds since 1970."""


class Curves:
    """Listens to the loop. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._points: list[_Point] = []
        self._steps: list[StepDone] = []
        self._folder: TemporaryDirectory[str] | None = None
        self._writer: SummaryWriter | None = None

    def untrained(self, state: TrainingState) -> None:
        self._add(state.step, {"loss/validation": state.untrained_val_loss})

    def epoch_started(self, epoch: int) -> None:
        pass

    def step_done(self, event: StepDone) -> None:
        self._steps.append(event)
        if sum(step.seconds for step in self._steps) >= POINT_SECONDS:
            self._close_point()

    def epoch_done(self, event: EpochDone) -> None:
        self._close_point()
        values = {"loss/validation": event.state.val_loss, "learning_rate": event.learning_rate}
        self._add(event.state.step, values)

    def saved(self, manifest: StepManifest) -> None:
        pass

    def written(self) -> list[Path]:
        """Writes what is new, returns the files. Imports TensorBoard: seconds, the first time."""
        with self._lock:
            points, self._points = self._points, []
        if points:
            writer = self._opened()
            for point in points:
                writer.add_scalar(point.name, point.value, point.step, walltime=point.time)
            writer.flush()
        return sorted(Path(self._folder.name).iterdir()) if self._folder else []

    def close(self) -> None:
        if self._writer:
            self._writer.close()
        if self._folder:
            self._folder.cleanup()

    def _opened(self) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._folder = TemporaryDirectory(prefix="argus-curves-")
            self._writer = SummaryWriter(self._folder.name)
        return self._writer

    def _close_point(self) -> None:
        steps, self._steps = self._steps, []
        if not steps:
            return
        seconds = sum(step.seconds for step in steps)
        windows = sum(step.num_windows for step in steps)
        values = {
            "loss/training": sum(step.loss for step in steps) / len(steps),
            "samples_per_second": windows / seconds if seconds else None,
        }
        self._add(steps[-1].state.step, values)

    def _add(self, step: int, values: dict[str, float | None]) -> None:
        now = self._clock()
        with self._lock:
            self._points += [
                _Point(name, value, step, now)
                for name, value in values.items()
                if value is not None
            ]
