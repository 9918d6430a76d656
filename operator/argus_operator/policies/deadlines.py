"""Has the run taken too long? `preRunningDeadlineSeconds` and `activeDeadlineSeconds`.

Both are set by the user alone: without them a run waits, and trains, as long as it takes.
A suspension starts both anew, as with a Job.
"""

from datetime import datetime, timedelta

from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.halt import halt_for_good
from argus_operator.policies.suspension import free_since, resumed_at

PRE_RUNNING = "PreRunningDeadlineExceeded"
ACTIVE = "DeadlineExceeded"


def expire(observed: Observed, draft: Draft) -> Draft:
    """Stops a run whose time is up; wakes when it will be."""
    if draft.over or draft.halted:
        return draft
    started = draft.status.start_time
    due = _pre_running_end(observed) if started is None else _active_end(observed, started)
    if due is None:
        return draft
    if observed.now < due:
        return draft.waking_at(due)
    if started is None:
        before = observed.run.status
        draft = draft.with_status(pending=before.pending)
        waited = before.pending.message if before.pending else None
        if not draft.accepted:
            waited = before.message
        why = f" It waited for: {waited}" if waited else ""
        message = (
            "No trainer started within spec.preRunningDeadlineSeconds. To wait longer, make the "
            f"ArgusTrainingJob again with more.{why}"
        )
        return halt_for_good(observed, draft, PRE_RUNNING, message)
    message = (
        "The run was active for longer than spec.activeDeadlineSeconds. Its last state is kept: "
        "made again with the same name and more, it goes on from there."
    )
    return halt_for_good(observed, draft, ACTIVE, message)


def _pre_running_end(observed: Observed) -> datetime | None:
    spec = observed.run.spec
    if spec is None or spec.pre_running_deadline_seconds is None:
        return None
    return free_since(observed) + timedelta(seconds=spec.pre_running_deadline_seconds)


def _active_end(observed: Observed, started: datetime) -> datetime | None:
    spec = observed.run.spec
    if spec is None or spec.active_deadline_seconds is None:
        return None
    since = max(started, resumed_at(observed) or started)
    return since + timedelta(seconds=spec.active_deadline_seconds)
