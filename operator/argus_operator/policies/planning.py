"""May a trainer be asked for, or is the run still planned on a CPU?

A planning pod that is disrupted is replaced by its Job, as a trainer is. It leaves no durable
step, so that as many disruptions end the run as of trainers that leave none.
"""

from dataclasses import replace
from datetime import datetime

from argus_contract.status import DISRUPTIVE, Phase
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.disruption_budget import MAX_FRUITLESS, TOO_MANY
from argus_operator.policies.ledger import end_reason, last_message
from argus_operator.policies.suspension import resumed_at
from argus_operator.policies.validation import last_words, must_plan
from argus_operator.views import JobEnd, JobView


def validate(observed: Observed, draft: Draft) -> Draft:
    """Says whether a trainer may be asked for, and gives up planning that never comes to an end."""
    if not draft.accepted or draft.over:
        return draft
    if not must_plan(observed):
        return replace(draft, validated=True)
    job = draft.job
    if job is None:
        return draft
    if job.end is JobEnd.COMPLETE and not _has_published(observed, job):
        return replace(draft, job=None, validated=True)
    return _limited(observed, draft) if job.end is None else draft


def planned_since(observed: Observed) -> datetime | None:
    """Returns when the first planning pod started, since the run last stood still."""
    resumed = resumed_at(observed)
    starts = [p.started for p in observed.planners if p.started]
    return min((s for s in starts if resumed is None or s >= resumed), default=None)


def _has_published(observed: Observed, job: JobView) -> bool:
    report = last_words(observed, job)
    return report is not None and report.already_published


def _limited(observed: Observed, draft: Draft) -> Draft:
    """Fails a run whose planning is disrupted again and again: nothing is at work meanwhile."""
    spec, resumed = observed.run.spec, resumed_at(observed)
    disrupted = [
        pod
        for pod in observed.planners
        if not pod.live
        and (resumed is None or pod.created > resumed)
        and end_reason(pod) in DISRUPTIVE
    ]
    if spec is None or len(disrupted) <= min(spec.max_disruptions, MAX_FRUITLESS - 1):
        return draft
    last = last_message(disrupted[-1]) or end_reason(disrupted[-1]).value
    message = (
        f"{len(disrupted)} planning pods were disrupted, one after the other; the last one: "
        f"{last}. Make the ArgusTrainingJob again when the cause is gone, or with "
        "data.validation.policy Off."
    )
    return (
        replace(draft, over=True)
        .with_status(completion_time=observed.now, pending=None)
        .saying(Phase.FAILED, TOO_MANY, message)
    )
