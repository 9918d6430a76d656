"""What is worth a line in the log and an event? The difference of two statuses, no more.

A run reads as about a dozen lines: accepted, started, disrupted, resumed, ended.
"""

from argus_contract.run_key import plans
from argus_contract.status import (
    ArgusTrainingJobStatus,
    ConditionStatus,
    ConditionType,
    EndReason,
    PendingSource,
    Phase,
)
from argus_operator.decision import News
from argus_operator.policies.unreachable import NODE_UNREACHABLE
from argus_operator.policies.validation import decided

_WARNINGS = frozenset({Phase.PREEMPTED, Phase.FAILED})
_QUIET = frozenset(
    {Phase.STARTING, Phase.PENDING, Phase.VALIDATING, Phase.QUEUED, Phase.PUBLISHING}
)
"""Phases that say nothing that another line does not say better."""


def news(before: ArgusTrainingJobStatus, after: ArgusTrainingJobStatus) -> tuple[News, ...]:
    """Returns what to tell, in the order in which it happened."""
    told: list[News] = []
    if _rejected(after) and (not _rejected(before) or before.reason != after.reason):
        told.append(_headline(after, warning=True))
    told.extend(_job(before, after))
    told.extend(_judged(before, after))
    if _waits_anew(before, after):
        told.append(
            News(
                reason=after.reason or "Waiting",
                message=after.pending.message if after.pending else "",
                warning=True,
            )
        )
    if after.reason == NODE_UNREACHABLE != before.reason:
        told.append(_headline(after, warning=True))
    told.extend(_ended_attempts(before, after))
    if after.phase != before.phase and after.phase not in _QUIET and not _rejected(after):
        told.append(_change(after))
    return tuple(told)


def _rejected(status: ArgusTrainingJobStatus) -> bool:
    return any(
        c.type is ConditionType.ACCEPTED and c.status is ConditionStatus.FALSE
        for c in status.conditions
    )


def _headline(status: ArgusTrainingJobStatus, warning: bool = False) -> News:
    return News(reason=status.reason or "Unknown", message=status.message or "", warning=warning)


def _job(before: ArgusTrainingJobStatus, after: ArgusTrainingJobStatus) -> list[News]:
    if after.job_name == before.job_name or after.job_name is None:
        return []
    if before.job_name is None or plans(before.job_name) > plans(after.job_name):
        return [News(reason="JobCreated", message=f"Made Job {after.job_name}.")]
    if before.phase is Phase.SUSPENDED:
        return [News(reason="Resumed", message=f"Made Job {after.job_name} to go on.")]
    message = f"Job {before.job_name} is gone; made Job {after.job_name} to go on."
    return [News(reason="JobReplaced", message=message, warning=True)]


def _waits_anew(before: ArgusTrainingJobStatus, after: ArgusTrainingJobStatus) -> bool:
    """Says whether it waits for somebody else than before; reading its data is its own work."""
    if after.pending is None or after.pending.source is PendingSource.DATA:
        return False
    return before.pending is None or before.pending.source != after.pending.source


def _judged(before: ArgusTrainingJobStatus, after: ArgusTrainingJobStatus) -> list[News]:
    """What the data is like; of a run that fails for it the end says so."""
    found = decided(after)
    if found is None or decided(before) or after.phase is Phase.FAILED:
        return []
    if found.status is ConditionStatus.TRUE:
        return [News(reason="DataValidated", message=found.message)]
    return [News(reason=found.reason, message=found.message, warning=True)]


def _ended_attempts(before: ArgusTrainingJobStatus, after: ArgusTrainingJobStatus) -> list[News]:
    """What no headline says: the end of the run tells of its last attempt."""
    # By pod: an attempt that never got a claim has the number that the next claim takes.
    known = {a.pod for a in before.attempts if a.end_reason}
    if after.phase is Phase.FAILED and after.attempts:
        known.add(after.attempts[-1].pod)
    told = []
    for attempt in after.attempts:
        if attempt.end_reason in (None, EndReason.COMPLETED) or attempt.pod in known:
            continue
        code = "" if attempt.exit_code is None else f", exit code {attempt.exit_code}"
        said = f": {attempt.message}" if attempt.message else ""
        message = f"Attempt {attempt.number} ended ({attempt.end_reason.value}{code}){said}"
        told.append(
            News(reason="AttemptEnded", message=message, warning=attempt.exit_code not in (0, 75))
        )
    return told


def _change(after: ArgusTrainingJobStatus) -> News:
    if after.phase is not Phase.RUNNING:
        return _headline(after, warning=after.phase in _WARNINGS)
    resumed = after.checkpoint.resumed_from_step if after.checkpoint else None
    if resumed is not None:
        message = f"Training goes on from step {resumed}. {after.message or ''}".rstrip()
        return News(reason="TrainingResumed", message=message)
    return News(reason="TrainingStarted", message=after.message or "Training runs.")
