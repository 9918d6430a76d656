"""What has the run cost?

Attempts that fell out of the last ten are still counted: their share is what the old
total had beyond the attempts that the status then listed. An attempt that still runs
counts up to the trainer's last report, so that the total moves only with news.
"""

from collections.abc import Iterable
from datetime import datetime

from argus_contract.status import ArgusTrainingJobStatus, Attempt, Usage
from argus_operator.decision import Draft
from argus_operator.job import count_gpus
from argus_operator.observed import Observed


def account(observed: Observed, draft: Draft) -> Draft:
    if draft.status.start_time is None:
        return draft
    before, now = observed.run.status, draft.status
    listed = {attempt.number for attempt in now.attempts}
    dropped = [attempt for attempt in before.attempts if attempt.number not in listed]
    earlier = (
        before.usage.training_seconds - _seconds(before, before.attempts) if (before.usage) else 0
    )
    seconds = max(0, earlier) + _seconds(before, dropped) + _seconds(now, now.attempts)
    resources = now.resolved.resources_per_node if now.resolved else None
    gpus = count_gpus(resources) if resources else 0
    queued = (draft.status.start_time - observed.run.created).total_seconds()
    lost = now.disruptions.lost_gpu_seconds if now.disruptions else 0
    usage = Usage(
        gpu_seconds=seconds * gpus,
        queued_seconds=max(0, int(queued)),
        training_seconds=seconds,
        lost_gpu_seconds=lost,
    )
    return draft.with_status(usage=usage)


def _seconds(status: ArgusTrainingJobStatus, attempts: Iterable[Attempt]) -> int:
    running_until = status.progress.last_update_time if status.progress else None
    return sum(_length(attempt, running_until) for attempt in attempts)


def _length(attempt: Attempt, running_until: datetime | None) -> int:
    end = attempt.end or running_until or attempt.start
    return max(0, int((end - attempt.start).total_seconds()))
