"""Has the Job ended, and what does that mean?

Settled from the Job's condition and the last words of its pods alone, so that an end
that happened while the operator was away is told as if it had been watched.
"""

from dataclasses import replace

from argus_contract.status import EndReason, Phase
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.ledger import end_reason, last_message, newest_report
from argus_operator.views import JobEnd, JobView, PodView

DATA_REFUSED = "DataRefused"
PUBLISHED = "Published"
ALREADY_PUBLISHED = "AlreadyPublished"

_TELLING = frozenset(
    {
        EndReason.STORAGE_DENIED,
        EndReason.DATA,
        EndReason.DIVERGED,
        EndReason.STUCK,
        EndReason.CONFIGURATION,
        EndReason.GPU_OUT_OF_MEMORY,
    }
)
"""Ends of the last attempt that say more than the Job's own reason."""


def settle(observed: Observed, draft: Draft) -> Draft:
    job = draft.job
    if draft.over or job is None or job.end is None:
        return draft
    draft = replace(draft, over=True).with_status(
        completion_time=job.ended or observed.now, pending=None
    )
    if job.end is JobEnd.COMPLETE:
        return _succeed(observed, draft)
    return _fail(observed, draft, job)


def _succeed(observed: Observed, draft: Draft) -> Draft:
    artifact = draft.status.artifact
    where = artifact.uri if artifact else "the output prefix (the trainer's report is lost)"
    report = newest_report(observed, draft.status)
    if report and report.already_published:
        return draft.saying(
            Phase.SUCCEEDED,
            ALREADY_PUBLISHED,
            f"This very run had already published {where}; nothing was trained. "
            "To train again, make the ArgusTrainingJob again with another spec.runToken.",
        )
    return draft.saying(Phase.SUCCEEDED, PUBLISHED, f"The model is published at {where}.")


def _fail(observed: Observed, draft: Draft, job: JobView) -> Draft:
    # A pod that the kubelet refused has no exit, and says why.
    pods = [p for p in observed.pods if p.owner_uid == job.uid and (p.exit or p.pod_reason)]
    if not pods:
        reason, message = job.end_reason or "JobFailed", job.end_message or "The Job failed."
        return draft.saying(Phase.FAILED, reason, message)
    last = pods[-1]
    why = end_reason(last)
    reason = why.value if why in _TELLING else job.end_reason or why.value
    report = last.exit.report if last.exit else None
    if report and report.already_published:
        reason = ALREADY_PUBLISHED
    elif report and report.validation and why is EndReason.DATA:
        reason = DATA_REFUSED
    return draft.saying(Phase.FAILED, reason, _describe(last, job))


def _describe(pod: PodView, job: JobView) -> str:
    said = last_message(pod)
    who = "The planning pod" if pod.planning else "The trainer"
    ended = f"{who} ended with exit code {pod.exit.code}" if pod.exit else "The pod ended"
    times = f", after {job.failed} failed attempts" if job.failed > 1 else ""
    if pod.planning and pod.exit and pod.exit.reason == "OOMKilled":
        said = (
            "OOMKilled. Give planning pods more memory (chart value planning.resources), or plan "
            "in the trainer's pod (data.validation.policy Off)"
        )
    return f"{ended}{times}: {said}" if said else f"{ended}{times}. See the log of pod {pod.name}."
