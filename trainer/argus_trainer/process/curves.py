"""Curves of a training for TensorBoard: losses, learning rate, samples per second.

The training only appends numbers; the file is written by whoever uploads it. So curves cost the
training no time, and no bit. It is made in memory: nothing stays on a machine whose process was
killed. A point of the training's own curves is the mean over some seconds of steps, about 60
bytes: a week of training takes 7 MB.
"""

import io
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from argus_contract.ledger import StepManifest
from argus_trainer.training.events import EpochDone, StepDone
from argus_trainer.training.state import TrainingState

POINT_SECONDS = 10.0
FORMAT = "brain.Event:2"
"""What the first record of a file says: readers refuse any other."""


@dataclass(frozen=True, slots=True)
class _Point:
    name: str
    value: float
    step: int
    time: float
    """Seconds since 1970."""


class Curves:
    """Listens to the loop. One thread adds points, another one writes them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._points: list[_Point] = []
        self._steps: list[StepDone] = []
        self._file = io.BytesIO()
        self.file_name = f"events.out.tfevents.{int(clock())}.{platform.node()}"
        """TensorBoard knows its files by that beginning."""

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

    def written(self) -> bytes:
        """Returns the whole file, nothing before the first point."""
        # Part of a second to import: not before there is something to write.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self._lock:
            points, self._points = self._points, []
        writer = RecordWriter(self._file)
        if points and not self._file.tell():
            writer.write(Event(wall_time=points[0].time, file_version=FORMAT).SerializeToString())
        for point in points:
            value = Summary.Value(tag=point.name, simple_value=point.value)
            event = Event(wall_time=point.time, step=point.step, summary=Summary(value=[value]))
            writer.write(event.SerializeToString())
        return self._file.getvalue()

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
