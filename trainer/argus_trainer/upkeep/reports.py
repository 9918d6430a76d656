"""What is found below a checkpoint prefix, as values: also the JSON that `--output json` prints."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from argus_contract.layout import StepId
from argus_contract.ledger import Claim, ClaimEnd, Final, PublishedRecord
from argus_contract.model import Model, Time


class StoredObject(Model):
    """An object of a run; its key is relative to the run's prefix."""

    key: str
    size: int


class RecordFault(Model):
    """A record that cannot be read."""

    key: str
    message: str
    exit_code: int
    """What a trainer that needs the record ends with."""


class StateReport(Model):
    """One saved state."""

    id: StepId
    size_bytes: int
    """Of its tensors."""
    saved_at: Time | None = None
    """Absent when its manifest cannot be read."""
    is_checked: bool
    """Whether its tensors were read and compared with their digest."""
    fault: str | None = None
    """Why nothing can go on from it; absent for a valid one."""
    ends_run: bool = False
    """Its fault ends a trainer that meets it with 78: it is not passed over."""


class ClaimReport(Model):
    """One trainer start and how it ended."""

    claim: Claim
    end: ClaimEnd | None = None
    """Absent while it runs, and when it was killed and nobody came after it."""


class Publication(Model):
    """A published run."""

    record: PublishedRecord
    damage: str | None = None
    """What is wrong with its bundle; absent for a whole one, a pruned one, and one that nobody
    looked at."""


class RunReport(Model):
    """One run."""

    run_key: str
    uri: str
    planned_at: Time | None = None
    bundle_name: str | None = None
    """Absent before the plan was made."""
    image: str | None = None
    claims: tuple[ClaimReport, ...]
    """By number."""
    states: tuple[StateReport, ...]
    """By (claim, step)."""
    final: Final | None = None
    published: Publication | None = None
    """Absent when it is not published, or when nobody could look."""
    faults: tuple[RecordFault, ...] = ()
    """Records that cannot be read."""
    lost_plan: str | None = None
    """Why a trainer ends with 78: `plan.json` is gone, and what belongs to it is not."""
    has_statistics: bool
    """Whether `statistics.json` stands, readable or not."""
    size_bytes: int
    num_objects: int
    objects: Annotated[tuple[StoredObject, ...], Field(exclude=True)] = ()

    @property
    def resumable(self) -> StateReport | None:
        """The state that the next attempt goes on from."""
        valid = [state for state in self.states if state.fault is None]
        return valid[-1] if valid else None

    def fault_of(self, *keys: str) -> RecordFault | None:
        """Returns the first fault among these records."""
        return next((fault for fault in self.faults if fault.key in keys), None)

    @property
    def is_damaged(self) -> bool:
        return bool(
            self.faults
            or self.lost_plan
            or any(state.fault for state in self.states)
            or (self.published and self.published.damage)
        )

    @property
    def final_state(self) -> StateReport | None:
        """The state that `final.json` names, if its manifest stands."""
        final = self.final
        return next((state for state in self.states if final and state.id == final.id), None)

    @property
    def open_claims(self) -> tuple[Claim, ...]:
        return tuple(report.claim for report in self.claims if report.end is None)

    @property
    def last_sign_of_life(self) -> datetime | None:
        """The newest time that any record of the run tells."""
        times = [
            *(report.claim.time for report in self.claims),
            *(report.end.time for report in self.claims if report.end),
            *(state.saved_at for state in self.states if state.saved_at),
            *([self.planned_at] if self.planned_at else []),
        ]
        return max(times, default=None)


class PrefixReport(Model):
    """Everything below a checkpoint prefix."""

    uri: str
    runs: tuple[RunReport, ...]
    """By run key."""
    statistics_bytes: int = 0
    """Of `stats/`, the cache that the runs share."""
    num_statistics: int = 0
    unreadable_publications: tuple[str, ...] = ()
    """Why records of published models cannot be read; whose they are nobody can tell."""
    num_unknown: int = 0
    """Objects that belong to no run and no cache: left alone."""
