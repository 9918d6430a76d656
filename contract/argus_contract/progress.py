"""What a trainer says about itself: the body of `/progress` and its last words.

Built from the types of `status.py`, so that the operator copies and never translates.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from argus_contract.model import Model, Time
from argus_contract.names import CONTRACT_VERSION, MAX_TERMINATION_BYTES
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

MAX_PROBLEMS = 8


class TrainerPhase(StrEnum):
    """What the trainer does now."""

    STARTING = "Starting"
    PLANNING = "Planning"
    TRAINING = "Training"
    PUBLISHING = "Publishing"
    ENDED = "Ended"


class Validation(Model):
    """The verdict on the data."""

    summary: Annotated[str, Field(max_length=256)]
    """What was found, in one sentence."""
    problems: Annotated[
        tuple[Annotated[str, Field(max_length=400)], ...], Field(max_length=MAX_PROBLEMS)
    ] = ()
    """Each limit that the data does not keep: field, value, what was found. Empty: it passed."""

    @property
    def passed(self) -> bool:
        return not self.problems


class ProgressReport(Model):
    """All that a trainer knows, at one instant."""

    contract_version: int = CONTRACT_VERSION
    run_key: str
    phase: TrainerPhase
    time: Time
    """When the report was made."""
    claim: int | None = None
    """Number of this attempt, once it has claimed the run."""
    progress: Progress | None = None
    metrics: Annotated[tuple[Metric, ...], Field(max_length=32)] = ()
    checkpoint: Checkpoint | None = None
    disruptions: Disruptions | None = None
    attempts: Annotated[tuple[Attempt, ...], Field(max_length=10)] = ()
    data: DataStatus | None = None
    artifact: Artifact | None = None
    lineage: Lineage | None = None
    already_published: bool = False
    """True when the bundle of this very run was found and nothing was trained."""
    validation: Validation | None = None
    """Of a planning pod, once it has judged the data."""
    end_reason: EndReason | None = None
    """Set in the last report."""
    message: Annotated[str | None, Field(max_length=1024)] = None
    """A sentence for people: the error and the way out, or what it waits for."""

    def to_termination_message(self) -> str:
        """Returns the report as JSON of at most 4096 bytes.

        Attempts are dropped from the oldest on, then the artifact's file names are: the
        bucket keeps the whole ledger and the whole manifest. Of several problems of the data the
        first ones stay.
        """
        report = self
        while (
            len(text := report.model_dump_json(by_alias=True, exclude_none=True).encode())
            > MAX_TERMINATION_BYTES
        ):
            if report.attempts:
                report = report.model_copy(update={"attempts": report.attempts[1:]})
            elif report.artifact and report.artifact.files:
                report = report.model_copy(
                    update={"artifact": report.artifact.model_copy(update={"files": ()})}
                )
            elif report.validation and len(report.validation.problems) > 1:
                fewer = {"problems": report.validation.problems[:-1]}
                report = report.model_copy(
                    update={"validation": report.validation.model_copy(update=fewer)}
                )
            elif report.message and len(report.message) > 200:
                report = report.model_copy(
                    update={"message": report.message[: len(report.message) // 2]}
                )
            else:
                report = report.model_copy(update={"metrics": (), "checkpoint": None, "data": None})
                return report.model_dump_json(by_alias=True, exclude_none=True)
        return text.decode()
