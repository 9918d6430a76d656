"""What a run's records mean: its condition in a sentence, and whether it may be removed. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from argus_trainer.upkeep.reports import RunReport


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a run's prefix may be removed."""

    remove: bool
    why: str


def condition_of(run: RunReport) -> str:
    """Returns what the run came to and what its next attempt would do."""
    if run.published:
        return (
            f"Published as {run.published.bundle}: a further attempt finds that and trains nothing."
        )
    if run.final:
        return (
            f"Training is over; its final state is step {run.final.id.step} of claim "
            f"{run.final.id.claim}. A further attempt publishes {run.final.bundle_name}."
        )
    state = run.resumable
    lowest = state.id.order() if state else (0, 0)
    passed_over = sum(s.fault is not None and s.id.order() > lowest for s in run.states)
    behind = f" ({passed_over} newer cannot be used)" if passed_over else ""
    if state:
        checked = "" if state.is_checked else ", if its digest holds (not checked)"
        return f"A resume takes step {state.id.step} of claim {state.id.claim}{behind}{checked}."
    if run.states:
        return f"None of {len(run.states)} states can be used: a resume begins anew."
    if run.planned_at:
        return "No state was saved: a resume begins anew with the same plan."
    return "Not planned yet: a further attempt begins from the start."


def verdict_on(
    run: RunReport, *, can_look_up: bool, now: datetime, older_than: timedelta
) -> Verdict:
    """Returns whether `argus gc` removes the run.

    `can_look_up` says that the list of published models was read: without it a run that came to
    its end is left alone.
    """
    if run.faults:
        return Verdict(remove=False, why=f"a record cannot be read: {run.faults[0]}")
    last = run.last_sign_of_life
    if last is None:
        return Verdict(
            remove=False, why="no record tells its age: look at it and delete it by hand"
        )
    age = now - last
    if run.open_claims and age < older_than:
        claim = run.open_claims[-1]
        return Verdict(
            remove=False,
            why=f"claim {claim.number} of {claim.pod} is open, last sign of life {_ago(age)}",
        )
    if run.published:
        return Verdict(remove=True, why=f"published as {run.published.bundle}")
    if run.final and not can_look_up:
        return Verdict(
            remove=False,
            why="its training is over, and whether it was published is unknown: name the models' "
            "prefix with --models",
        )
    stage = "not published" if can_look_up else "training never ended"
    if age < older_than:
        return Verdict(remove=False, why=f"{stage}, last sign of life {_ago(age)}")
    return Verdict(remove=True, why=f"{stage}, and dead: last sign of life {_ago(age)}")


def _ago(age: timedelta) -> str:
    hours = max(0, int(age.total_seconds() // 3600))
    return f"{hours // 24} days ago" if hours >= 48 else f"{hours} h ago"
