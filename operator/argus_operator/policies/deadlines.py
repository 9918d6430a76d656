"""Has the run taken too long? `preRunningDeadlineSeconds` and `activeDeadlineSeconds`.

Both are set by the user alone: without them a run waits, and trains, as long as it takes.
A suspension starts both anew, as with a Job: after it a trainer must start again in time.
"""

from datetime import datetime, timedelta

from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.halt import halt_for_good, is_finishing
from argus_operator.policies.suspension import free_since, resumed_at

PRE_RUNNING = "PreRunningDeadlineExceeded"
ACTIVE = "DeadlineExceeded"


def expire(observed: Observed, draft: Draft) -> Draft:
    """Stops a run whose time is up; wakes when it will be."""
    if draft.over or draft.halted or is_finishing(observed, draft):
        return draft
    active_end = _active_end(observed, draft)
    pre_running_end = None if _has_started(observed, draft) else _pre_running_end(observed)
    due = min(filter(None, (active_end, pre_running_end)), default=None)
    if due is None:
        return draft
    if observed.now < due:
        return draft.waking_at(due)
    if due == pre_running_end:
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


def _has_started(observed: Observed, draft: Draft) -> bool:
    """Says whether a trainer has started since the run last stood still."""
    resumed = resumed_at(observed)
    if resumed is None:
        return draft.status.start_time is not None
    starts = [attempt.start for attempt in draft.status.attempts]
    starts += [pod.started for pod in observed.trainers if pod.started]
    # A node's clock may be behind: a trainer of the Job that stands counts whatever it says.
    own = (pod for pod in observed.trainers if draft.job and pod.owner_uid == draft.job.uid)
    return any(pod.started for pod in own) or any(start >= resumed for start in starts)


def _pre_running_end(observed: Observed) -> datetime | None:
    spec = observed.run.spec
    if spec is None or spec.pre_running_deadline_seconds is None or spec.suspend:
        return None
    return free_since(observed) + timedelta(seconds=spec.pre_running_deadline_seconds)


def _active_end(observed: Observed, draft: Draft) -> datetime | None:
    spec, started = observed.run.spec, draft.status.start_time
    if spec is None or spec.active_deadline_seconds is None or started is None:
        return None
    since = max(started, resumed_at(observed) or started)
    return since + timedelta(seconds=spec.active_deadline_seconds)
