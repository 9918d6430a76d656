"""Must the run stand still? `spec.suspend`: true removes the Job and keeps the run.

The trainer gets SIGTERM, saves and leaves; false makes the next Job, from the spec as it
then is. While a run stands still no Job proves its spec: the API server is asked what it
would say, once for each change. `Job.spec.suspend` is Kueue's and never touched.
"""

from dataclasses import replace
from datetime import datetime

from argus_contract.status import ConditionStatus, ConditionType, Phase
from argus_operator.decision import DeleteJob, Draft, ProveJob
from argus_operator.observed import Observed
from argus_operator.policies.child import next_job

SUSPENDED = "Suspended"
SUSPENDING = "Suspending"
RESUMED = "Resumed"


def suspend(observed: Observed, draft: Draft) -> Draft:
    """Stops what runs, and says so; a run that has ended has nothing to suspend."""
    spec = observed.run.spec
    if not draft.accepted or draft.over or spec is None or not spec.suspend:
        return draft
    draft = replace(draft, suspended=True)
    leaving = [pod.name for pod in observed.pods if pod.live]
    if draft.job or leaving:
        if draft.job and not draft.job.deleting:
            draft = replace(draft, actions=(*draft.actions, DeleteJob(job=draft.job)))
        who = f"Pod {leaving[-1]}" if leaving else "Its Job"
        return draft.saying(
            draft.status.phase or Phase.PENDING, SUSPENDING, f"{who} saves and leaves."
        )
    job = next_job(observed, draft)
    if job and not _is_proven(observed):
        draft = replace(draft, actions=(*draft.actions, ProveJob(job=job)))
    step = draft.status.checkpoint.step if draft.status.checkpoint else None
    kept = "" if step is None else f" The state of step {step} is kept."
    return draft.saying(
        Phase.SUSPENDED, SUSPENDED, f"Nothing runs.{kept} Set spec.suspend to false to go on."
    )


def resumed_at(observed: Observed) -> datetime | None:
    """Returns when the run was last told to go on; None if it never stood still."""
    before = {c.type: c for c in observed.run.status.conditions}.get(ConditionType.SUSPENDED)
    if before is None:
        return None
    if before.status is ConditionStatus.TRUE:
        return observed.now
    return before.last_transition_time if before.reason == RESUMED else None


def _is_proven(observed: Observed) -> bool:
    """Says whether this very generation of the spec was accepted."""
    return any(
        condition.type is ConditionType.ACCEPTED
        and condition.status is ConditionStatus.TRUE
        and condition.observed_generation == observed.run.generation
        for condition in observed.run.status.conditions
    )
