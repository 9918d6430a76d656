"""What has the run cost?

Attempts that fell out of the last ten are still counted: their share is what the old
total had beyond the attempts that the status then listed. An attempt that still runs
counts up to the trainer's last report, so that the total moves only with news. GPUs may
change while a run is suspended: only what was added since is multiplied by those of now.
"""

from collections.abc import Iterable
from datetime import datetime

from argus_contract.status import ArgusTrainingJobStatus, Attempt, ConditionStatus, Usage
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.planning import planned_since
from argus_operator.policies.suspension import resumed_at
from argus_operator.policies.validation import decided, verdict


def account(observed: Observed, draft: Draft) -> Draft:
    before, now = observed.run.status, draft.status
    waited_until = now.start_time or (now.completion_time if draft.over else None)
    queued = _queued(observed, waited_until)
    if waited_until is None and not queued:
        return draft
    # By pod: an attempt that never got a claim has the number that the next claim takes.
    listed = {attempt.pod for attempt in now.attempts}
    dropped = [attempt for attempt in before.attempts if attempt.pod not in listed]
    earlier = (
        before.usage.training_seconds - _seconds(before, before.attempts) if (before.usage) else 0
    )
    seconds = max(0, earlier) + _seconds(before, dropped) + _seconds(now, now.attempts)
    resources = now.resolved.resources_per_node if now.resolved else None
    gpus = resources.num_gpus() if resources else 0
    known = before.usage or Usage(
        gpu_seconds=0, queued_seconds=0, training_seconds=0, lost_gpu_seconds=0
    )
    lost = now.disruptions.lost_gpu_seconds if now.disruptions else 0
    usage = Usage(
        gpu_seconds=max(0, known.gpu_seconds + (seconds - known.training_seconds) * gpus),
        queued_seconds=queued,
        training_seconds=seconds,
        lost_gpu_seconds=lost,
    )
    return draft.with_status(usage=usage)


def _queued(observed: Observed, until: datetime | None) -> int:
    """Returns the seconds before the first start in which the run was free to start.

    Planning is no queue. What was waited before it is added when its verdict is first seen, and
    what was waited since then at the first start: so nothing is lost with the planning pods.
    """
    before = observed.run.status
    known = before.usage.queued_seconds if before.usage else 0
    if before.start_time:
        return known
    free = resumed_at(observed) or observed.run.created
    if judged := decided(before):
        return known + _seconds_between(max(free, judged.last_transition_time), until)
    began = planned_since(observed)
    found = verdict(observed)
    if began is None:
        return known + _seconds_between(free, until)
    is_judged = found is not None and found.status is not ConditionStatus.UNKNOWN
    return known + _seconds_between(free, began if is_judged or until else None)


def _seconds_between(since: datetime, until: datetime | None) -> int:
    """Returns 0 as long as the end is not known."""
    return max(0, int((until - since).total_seconds())) if until else 0


def _seconds(status: ArgusTrainingJobStatus, attempts: Iterable[Attempt]) -> int:
    running_until = status.progress.last_update_time if status.progress else None
    return sum(_length(attempt, running_until) for attempt in attempts)


def _length(attempt: Attempt, running_until: datetime | None) -> int:
    end = attempt.end or running_until or attempt.start
    return max(0, int((end - attempt.start).total_seconds()))
