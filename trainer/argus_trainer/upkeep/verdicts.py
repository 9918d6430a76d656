"""What a run's records mean: its condition in a sentence, and whether it may be removed. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from argus_contract import layout
from argus_contract.exit_codes import ExitCode
from argus_trainer.upkeep.reports import Publication, RunReport, StateReport


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a run's prefix may be removed."""

    remove: bool
    why: str


def condition_of(run: RunReport) -> str:
    """Returns what the run came to and what its next attempt does, in the trainer's own order."""
    if run.published:
        return _of_published(run, run.published)
    if ending := _ending_of(run):
        return f"A further attempt ends with {ending}"
    if not run.planned_at:
        return "Not planned yet: a further attempt begins from the start."
    if run.final:
        return _with_statistics(
            run,
            f"Training is over; its final state is step {run.final.id.step} of claim "
            f"{run.final.id.claim}. A further attempt publishes {run.final.bundle_name}",
        )
    state = run.resumable
    passed_over = len(_met_before(run, state))
    behind = f" ({passed_over} newer cannot be used)" if passed_over else ""
    if state:
        checked = "" if state.is_checked else ", if its digest holds (not checked)"
        took = f"A resume takes step {state.id.step} of claim {state.id.claim}{behind}{checked}"
        return _with_statistics(run, took)
    if run.states:
        return f"None of {len(run.states)} states can be used: a resume begins anew."
    return "No state was saved: a resume begins anew with the same plan."


def _of_published(run: RunReport, published: Publication) -> str:
    bundle = published.record.bundle
    if published.damage is None:
        return f"Published as {bundle}: a further attempt finds that and trains nothing."
    state = run.final_state
    if state and state.fault is None:
        return (
            f"Published as {bundle}, which is damaged: a further attempt writes it again from step "
            f"{state.id.step} of claim {state.id.claim}."
        )
    return (
        f"Published as {bundle}, which is damaged, and the state that it was made of is gone: a "
        f"further attempt ends with {int(ExitCode.DATA)}. Restore the bundle from a copy, or train "
        "again under another spec.runToken (--fresh)."
    )


def _ending_of(run: RunReport) -> str | None:
    """Returns the exit code and the reason of an attempt that cannot go on, or None."""
    if fault := run.fault_of(layout.PLAN):
        return f"{fault.exit_code}: {fault.message}"
    if run.lost_plan:
        return f"{int(ExitCode.CONFIGURATION)}: {run.lost_plan}"
    if fault := run.fault_of(layout.STATISTICS) or run.fault_of(layout.FINAL):
        return f"{fault.exit_code}: {fault.message}"
    if run.final:
        state = run.final_state
        if state is None:
            return (
                f"{int(ExitCode.DATA)}: {layout.FINAL} names {run.final.id.manifest}, which is gone"
            )
        met = [state] if state.fault else []
    else:
        met = [state for state in _met_before(run, run.resumable) if state.ends_run]
    if not met:
        return None
    code = ExitCode.CONFIGURATION if met[-1].ends_run else ExitCode.DATA
    return f"{int(code)}: {met[-1].fault}"


def _met_before(run: RunReport, taken: StateReport | None) -> list[StateReport]:
    """Returns the states that a trainer meets before the one that it takes, lowest first."""
    lowest = taken.id.order() if taken else (0, 0)
    return [state for state in run.states if state.id.order() > lowest]


def _with_statistics(run: RunReport, sentence: str) -> str:
    """Returns what follows once the statistics stand, with what must happen before."""
    if run.has_statistics:
        return f"{sentence}."
    return (
        f"{layout.STATISTICS} is gone: a further attempt makes it again from the pinned objects "
        f"and ends with {int(ExitCode.CONFIGURATION)} if it comes out another. If not: {sentence}."
    )


def verdict_on(
    run: RunReport, *, unknown: str | None, now: datetime, older_than: timedelta
) -> Verdict:
    """Returns whether `argus gc` removes the run.

    `unknown` is why nobody can say that a run was never published, None when it can be said: a
    run that came to its end is left alone otherwise.
    """
    if run.faults:
        return Verdict(remove=False, why=f"a record cannot be read: {run.faults[0].message}")
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
    if run.published and run.published.damage:
        return Verdict(remove=False, why=f"its bundle is damaged: {run.published.damage}")
    if run.published:
        return Verdict(remove=True, why=f"published as {run.published.record.bundle}")
    if run.final and unknown:
        return Verdict(
            remove=False,
            why=f"its training is over, and whether it was published is unknown: {unknown}",
        )
    stage = "training never ended" if unknown else "not published"
    if age < older_than:
        return Verdict(remove=False, why=f"{stage}, last sign of life {_ago(age)}")
    return Verdict(remove=True, why=f"{stage}, and dead: last sign of life {_ago(age)}")


def _ago(age: timedelta) -> str:
    hours = max(0, int(age.total_seconds() // 3600))
    return f"{hours // 24} days ago" if hours >= 48 else f"{hours} h ago"
