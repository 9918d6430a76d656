"""Listens to the loop and tells it twice: to people in the log, to the operator in the report."""

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime

from argus_contract.ledger import StepManifest
from argus_contract.status import Checkpoint, Metric, Progress
from argus_trainer.process import banner
from argus_trainer.process.report import Report
from argus_trainer.training.course import Course
from argus_trainer.training.events import EpochDone, StepDone
from argus_trainer.training.state import TrainingState

NUM_RECENT_STEPS = 50
STEP_LINE_SECONDS = 10.0
"""At most so often a line says how far an epoch is."""


class Narrator:
    """The loop's listener."""

    def __init__(
        self,
        *,
        report: Report,
        course: Course,
        say: Callable[[str], None],
        clock: Callable[[], datetime],
        checkpoint_uri: str,
        resumed_from_step: int | None,
    ) -> None:
        self._report = report
        self._course = course
        self._say = say
        self._clock = clock
        self._checkpoint_uri = checkpoint_uri
        self._resumed_from_step = resumed_from_step
        self._recent: deque[StepDone] = deque(maxlen=NUM_RECENT_STEPS)
        self._validation_seconds = 0.0
        self._said_at = time.monotonic()
        self._trouble: str | None = None
        self._trouble_said_at = 0.0

    def resumed(self, state: TrainingState, saved_at: datetime) -> None:
        """The training goes on from a saved state."""
        for line in banner.resumed(
            saved_at=saved_at,
            epoch=min(state.epoch + 1, self._course.epochs),
            chunk=self._course.chunk(state.step_of_epoch),
            best_loss=state.best.val_loss if state.best else None,
        ):
            self._say(line)
        self._tell(state)

    def untrained(self, state: TrainingState) -> None:
        self._say(f"[MODEL] Val loss before training: {state.untrained_val_loss:.4f}")
        self._tell(state)

    def epoch_started(self, epoch: int) -> None:
        self._say(banner.epoch_started(epoch + 1, self._course.epochs))

    def step_done(self, event: StepDone) -> None:
        self._recent.append(event)
        self._tell(event.state)
        now = time.monotonic()
        if now - self._said_at >= STEP_LINE_SECONDS:
            self._said_at = now
            state = event.state
            self._say(
                f"[STEP {state.step}/{self._course.total_steps}] "
                f"Epoch {state.epoch + 1}, Chunk {self._course.chunk(state.step_of_epoch)}, "
                f"Loss {state.newest_train_loss or 0.0:.4f}, "
                f"{1 / max(self._seconds_per_step(), 1e-9):.2f} steps/s"
            )

    def epoch_done(self, event: EpochDone) -> None:
        self._validation_seconds = event.validation_seconds
        state = event.state
        for line in banner.epoch_completed(
            epoch=event.epoch + 1,
            epochs=self._course.epochs,
            seconds=event.seconds,
            train_loss=state.train_loss or 0.0,
            val_loss=state.val_loss or 0.0,
            is_best=event.is_best,
            learning_rate=event.learning_rate,
            eta_seconds=self._eta_seconds(state),
        ):
            self._say(line)
        self._tell(state)

    def saved(self, manifest: StepManifest) -> None:
        self._report.saved(
            Checkpoint(
                uri=f"{self._checkpoint_uri}/{manifest.id.manifest}",
                step=manifest.id.step,
                saved_at=manifest.saved_at,
                size_bytes=manifest.tensors.size,
                save_seconds=banner.decimal(manifest.save_seconds),
                resumed_from_step=self._resumed_from_step,
            )
        )

    def saving(self, trouble: str | None) -> None:
        """Told again and again: what keeps states from becoming durable, or None."""
        now = time.monotonic()
        if trouble and (self._trouble is None or now - self._trouble_said_at >= STEP_LINE_SECONDS):
            self._trouble_said_at = now
            self._say(f"[CHECKPOINT] {trouble}")
        if trouble or self._trouble:
            self._report.message(trouble)
        self._trouble = trouble

    def _tell(self, state: TrainingState) -> None:
        self._report.progress(self._progress(state), _metrics(state))

    def _progress(self, state: TrainingState) -> Progress:
        course = self._course
        total = course.total_steps
        percentage = 100 if state.finish else min(99, state.step * 100 // total)
        epoch = min(state.epoch + 1, course.epochs)
        if state.finish and state.step_of_epoch == 0:
            epoch = state.epoch
        seconds = sum(event.seconds for event in self._recent)
        waited = sum(event.wait_seconds for event in self._recent)
        windows = sum(event.num_windows for event in self._recent)
        return Progress(
            percentage=percentage,
            epoch=epoch,
            max_epochs=course.epochs,
            chunk=course.chunk(state.step_of_epoch),
            chunks=course.chunks,
            step=state.step,
            max_steps=total,
            eta_seconds=round(self._eta_seconds(state)) if self._recent else None,
            summary=f"{percentage}% epoch {epoch}/{course.epochs}",
            samples_per_second=round(windows / seconds) if seconds else None,
            data_wait_percent=round(100 * waited / seconds) if seconds else None,
            last_update_time=self._clock(),
        )

    def _eta_seconds(self, state: TrainingState) -> float:
        if state.finish:
            return 0.0
        steps = self._course.total_steps - state.step
        validations = steps / self._course.steps_per_epoch
        return steps * self._seconds_per_step() + validations * self._validation_seconds

    def _seconds_per_step(self) -> float:
        if not self._recent:
            return 0.0
        return sum(event.seconds for event in self._recent) / len(self._recent)


def _metrics(state: TrainingState) -> tuple[Metric, ...]:
    """Returns the metrics that have a value by now."""
    values = (
        ("train_loss", state.newest_train_loss, None),
        ("val_loss", state.val_loss, state.best.val_loss if state.best else None),
        ("untrained_val_loss", state.untrained_val_loss, None),
        ("learning_rate", state.learning_rate, None),
    )
    return tuple(
        Metric(
            name=name,
            value=banner.decimal(value),
            step=state.step,
            best=banner.decimal(best) if best is not None else None,
        )
        for name, value, best in values
        if value is not None
    )
