"""What the process knows of itself, kept as one ProgressReport.

Written by the main thread, read by the HTTP server, the signal thread and at the end by the
last words. A report is frozen and replaced as a whole, so readers need no lock.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from argus_contract.model import Model
from argus_contract.progress import ProgressReport, TrainerPhase, Validation
from argus_contract.status import (
    Artifact,
    Attempt,
    Checkpoint,
    DataStatus,
    Disruptions,
    EndReason,
    Lineage,
    Metric,
    Progress,
)

MAX_ATTEMPTS = 10
MAX_MESSAGE_LENGTH = 1024


class Report:
    """The newest report. `clock` gives the time in UTC."""

    def __init__(self, run_key: str, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._newest = ProgressReport(run_key=run_key, phase=TrainerPhase.STARTING, time=clock())

    @property
    def newest(self) -> ProgressReport:
        return self._newest

    def phase(self, phase: TrainerPhase) -> None:
        self._put(phase=phase)

    def claimed(self, number: int, attempts: tuple[Attempt, ...], disruptions: Disruptions) -> None:
        self._put(claim=number, attempts=attempts[-MAX_ATTEMPTS:], disruptions=disruptions)

    def data(self, data: DataStatus) -> None:
        self._put(data=data)

    def validated(self, validation: Validation) -> None:
        self._put(validation=validation)

    def progress(self, progress: Progress, metrics: tuple[Metric, ...]) -> None:
        self._put(progress=progress, metrics=metrics)

    def metrics(self, metrics: tuple[Metric, ...]) -> None:
        self._put(metrics=metrics)

    def message(self, message: str | None) -> None:
        """Sets the sentence for people."""
        self._put(message=message[:MAX_MESSAGE_LENGTH] if message else None)

    def saved(self, checkpoint: Checkpoint) -> None:
        self._put(checkpoint=checkpoint)

    def lineage(self, lineage: Lineage) -> None:
        self._put(lineage=lineage)

    def published(self, artifact: Artifact, *, already: bool) -> None:
        self._put(artifact=artifact, already_published=already)

    def ledger(self, attempts: tuple[Attempt, ...], disruptions: Disruptions) -> None:
        self._put(attempts=attempts[-MAX_ATTEMPTS:], disruptions=disruptions)

    def ended(self, reason: EndReason, message: str | None) -> None:
        self._put(
            phase=TrainerPhase.ENDED,
            end_reason=reason,
            message=message[:MAX_MESSAGE_LENGTH] if message else None,
        )

    def write_last_words(self, path: Path) -> None:
        """Writes the report where Kubernetes looks for a termination message."""
        path.write_text(self._newest.to_termination_message(), encoding="utf-8")

    def _put(self, **changes: Model | tuple[Model, ...] | str | int | None) -> None:
        self._newest = self._newest.model_copy(update={**changes, "time": self._clock()})
