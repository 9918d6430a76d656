"""What do programs read? Conditions, each derived from what was decided before.

Reconciling and Stalled are there only while true: kstatus then calls a run that has its
Job Current, and no deployment waits hours for a training.
"""

from argus_contract.status import (
    ArgusTrainingJobStatus,
    Condition,
    ConditionStatus,
    ConditionType,
    EndReason,
    Phase,
)
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.headline import PROGRESS_UNKNOWN
from argus_operator.policies.suspension import RESUMED, resumed_at
from argus_operator.policies.validation import verdict
from argus_operator.policies.waiting import current_pod
from argus_operator.views import JobView

_Answer = tuple[ConditionStatus, str, str]


def conditions(observed: Observed, draft: Draft) -> Draft:
    status = draft.status
    failed = status.phase is Phase.FAILED
    says = (status.reason or "Unknown", status.message or "")
    answers: dict[ConditionType, _Answer] = {
        ConditionType.ACCEPTED: _accepted(draft, says),
        ConditionType.PODS_READY: _pods_ready(observed, draft),
        ConditionType.PROGRESSING: _progressing(status.phase, says),
        ConditionType.SUSPENDED: _is(
            status.phase is Phase.SUSPENDED,
            says,
            RESUMED if resumed_at(observed) else "NotSuspended",
        ),
        ConditionType.MODEL_PUBLISHED: _published(draft),
        ConditionType.COMPLETE: _is(status.phase is Phase.SUCCEEDED, says, "NotComplete"),
        ConditionType.FAILED: _is(failed, says, "NotFailed"),
    }
    if draft.job and status.resolved and status.resolved.queue:
        answers[ConditionType.ADMITTED] = _admitted(draft.job, status)
    if judged := verdict(observed):
        answers[ConditionType.DATA_VALIDATED] = (judged.status, judged.reason, judged.message)
    if draft.accepted and not draft.over and not draft.halted and draft.job is None:
        answers[ConditionType.RECONCILING] = (ConditionStatus.TRUE, *says)
    if failed or not draft.accepted:
        answers[ConditionType.STALLED] = (ConditionStatus.TRUE, *says)
    return draft.with_status(
        conditions=tuple(
            _condition(observed, kind, answer) for kind, answer in sorted(answers.items())
        )
    )


def _condition(observed: Observed, kind: ConditionType, answer: _Answer) -> Condition:
    status, reason, message = answer
    before = next((c for c in observed.run.status.conditions if c.type is kind), None)
    generation = observed.run.generation
    if before is None or before.status is not status:
        since = observed.now
    elif (before.reason, before.message, before.observed_generation) == (*answer[1:], generation):
        return before
    else:
        since = before.last_transition_time
    return Condition(
        type=kind,
        status=status,
        observed_generation=generation,
        last_transition_time=since,
        reason=reason,
        message=message,
    )


def _is(true: bool, says: tuple[str, str], otherwise: str) -> _Answer:
    return (ConditionStatus.TRUE, *says) if true else (ConditionStatus.FALSE, otherwise, "")


def _accepted(draft: Draft, says: tuple[str, str]) -> _Answer:
    if not draft.accepted:
        return ConditionStatus.FALSE, *says
    return ConditionStatus.TRUE, "Accepted", "The spec is valid and every default is known."


def _admitted(job: JobView, status: ArgusTrainingJobStatus) -> _Answer:
    """Says whether Kueue lets the Job run."""
    if not job.suspended:
        return ConditionStatus.TRUE, "Admitted", f"Kueue lets Job {job.name} run."
    waits_for = status.pending.message if status.pending else ""
    return ConditionStatus.FALSE, status.reason or "Suspended", waits_for


def _pods_ready(observed: Observed, draft: Draft) -> _Answer:
    pod = current_pod(observed, draft)
    if pod and pod.ready and not pod.planning:
        return ConditionStatus.TRUE, "PodReady", f"Pod {pod.name} runs on {pod.node}."
    return ConditionStatus.FALSE, "NoReadyPod", ""


def _progressing(phase: Phase | None, says: tuple[str, str]) -> _Answer:
    if says[0] == PROGRESS_UNKNOWN:
        return ConditionStatus.UNKNOWN, *says
    if phase in (Phase.RUNNING, Phase.PUBLISHING):
        return ConditionStatus.TRUE, says[0], ""
    return ConditionStatus.FALSE, says[0], ""


def _published(draft: Draft) -> _Answer:
    artifact = draft.status.artifact
    if artifact:
        return ConditionStatus.TRUE, "Published", f"{artifact.uri} ({artifact.published.value})"
    if draft.status.phase is Phase.SUCCEEDED:
        return ConditionStatus.TRUE, EndReason.COMPLETED.value, "The trainer's report is lost."
    return ConditionStatus.FALSE, "NotPublished", ""
