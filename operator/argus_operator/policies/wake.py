"""When does time alone change the answer?

Changes of Jobs and pods come as events. Time is asked for where there is none: the
progress of a trainer, and reasons for waiting that stand only in cluster events.
"""

from datetime import datetime, timedelta

from argus_operator.configuration import Configuration
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.waiting import current_pod
from argus_operator.views import PodView

WRITES_PER_SECOND = 10
"""Budget of progress writes over all runs."""
SILENT = timedelta(seconds=3)
"""After its pod's start: a trainer would not answer before."""
YOUNG = timedelta(seconds=60)
YOUNG_INTERVAL = timedelta(seconds=5)
"""A pod in its first minute is asked more often: that is when people watch."""
WAITING_INTERVAL = timedelta(seconds=10)
LONG_WAIT = timedelta(minutes=5)
LONG_WAITING_INTERVAL = timedelta(seconds=30)
LOOKS_PER_SECOND = 50
"""Budget of looks at all runs that wait."""
PREDECESSOR_INTERVAL = timedelta(seconds=3)
INVALID_INTERVAL = timedelta(minutes=5)
"""Only another Kubernetes, or another webhook, takes what was refused as wrong."""


def poll_interval(
    configuration: Configuration, pod: PodView, now: datetime, num_active: int
) -> timedelta:
    """Returns how often the progress of this pod is read."""
    regular = timedelta(
        seconds=max(configuration.progress_interval_seconds, num_active / WRITES_PER_SECOND)
    )
    young = pod.started is not None and now - pod.started < YOUNG
    return min(regular, YOUNG_INTERVAL) if young else regular


def wake(observed: Observed, draft: Draft) -> Draft:
    if draft.over or not (draft.accepted or observed.refusal):
        return draft
    if draft.halted and not observed.refusal:
        return draft
    return draft.waking_at(observed.now + _pause(observed, draft))


def _pause(observed: Observed, draft: Draft) -> timedelta:
    if observed.refusal:
        if observed.refusal.invalid:
            return INVALID_INTERVAL
        return PREDECESSOR_INTERVAL if observed.refusal.predecessor else LONG_WAITING_INTERVAL
    pod = current_pod(observed, draft)
    if pod and pod.running:
        return poll_interval(draft.configuration, pod, observed.now, observed.num_active)
    pending = draft.status.pending
    if draft.job and draft.job.suspended:
        # Its end comes as an event; only the reason must be asked for.
        return max(WAITING_INTERVAL, timedelta(seconds=observed.num_active / WRITES_PER_SECOND))
    long = pending is not None and observed.now - pending.since > LONG_WAIT
    crowded = timedelta(seconds=observed.num_active / LOOKS_PER_SECOND)
    return max(LONG_WAITING_INTERVAL if long else WAITING_INTERVAL, crowded)
