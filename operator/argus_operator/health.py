"""Is the operator alive? Not whether its cluster is busy: a quiet cluster is healthy.

Unhealthy means that a restart helps: due work that nobody takes, or watches that have
missed news twice in a row. A blocked event loop shows as a probe that gets no answer.
"""

from argus_operator.queue import WorkQueue
from argus_operator.resync import Resync

MAX_WAIT_SECONDS = 180.0
MAX_PASSES_WITH_MISSED_NEWS = 2


def ailment(queue: WorkQueue, resync: Resync) -> str | None:
    """Returns what is wrong, or None."""
    waiting = queue.oldest()
    if waiting > MAX_WAIT_SECONDS:
        return f"a run has been due for {waiting:.0f} s and no worker took it"
    if resync.passes_with_missed_news >= MAX_PASSES_WITH_MISSED_NEWS:
        return "two listings in a row found changes that no watch event had told"
    return None
