"""Must the run stand still? `spec.suspend`: true removes the Job and keeps the run.

The trainer gets SIGTERM, saves and leaves; false makes the next Job, from the spec as it
then is. While a run stands still no Job proves its spec: the API server is asked what it
would say, once for each change. `Job.spec.suspend` is Kueue's and never touched.
"""

from dataclasses import replace
from datetime import datetime

from argus_contract.status import Condition, ConditionStatus, ConditionType, Phase
from argus_operator.decision import Draft, ProveJob
from argus_operator.observed import Observed
from argus_operator.policies.child import next_job
from argus_operator.policies.halt import halt, is_finishing

SUSPENDED = "Suspended"
SUSPENDING = "Suspending"
RESUMED = "Resumed"


def suspend(observed: Observed, draft: Draft) -> Draft:
    """Stops what runs, and says so; a run that has ended has nothing to suspend."""
    spec = observed.run.spec
    if not draft.accepted or draft.over or spec is None or not spec.suspend:
        return draft
    if is_finishing(observed, draft):
        return draft
    draft, leaving = halt(observed, draft)
    if leaving:
        return draft.saying(draft.status.phase or Phase.PENDING, SUSPENDING, leaving)
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
    before = _condition(observed, ConditionType.SUSPENDED)
    if before is None or (before.status is ConditionStatus.FALSE and before.reason != RESUMED):
        return None
    return free_since(observed)


def free_since(observed: Observed) -> datetime:
    """Returns since when the run may run: since it was first seen, or last told to go on."""
    before = _condition(observed, ConditionType.SUSPENDED)
    if before is None or before.status is ConditionStatus.TRUE:
        return observed.now
    return before.last_transition_time


def _condition(observed: Observed, kind: ConditionType) -> Condition | None:
    return next((c for c in observed.run.status.conditions if c.type is kind), None)


def _is_proven(observed: Observed) -> bool:
    """Says whether this very generation of the spec was accepted."""
    accepted = _condition(observed, ConditionType.ACCEPTED)
    return (
        accepted is not None
        and accepted.status is ConditionStatus.TRUE
        and accepted.observed_generation == observed.run.generation
    )
