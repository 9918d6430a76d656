"""How soon must news of a child be looked at?

A pod tells of its start in half a dozen events, and of its end a moment before its Job does:
looked at together they are one decision and one status.
"""

from dataclasses import replace

from argus_operator.policies.waiting import ORDINARY
from argus_operator.policies.wake import SILENT
from argus_operator.views import JobView, PodView

AT_ONCE = 0.0
GATHER_SECONDS = 1.0
START_SECONDS = SILENT.total_seconds()
"""A pod that starts as it should."""
END_SECONDS = 3.0
"""A pod that has succeeded waits this long for the end of its Job, which says more."""

Child = JobView | PodView


def urgency(before: Child | None, after: Child) -> float | None:
    """Returns within how many seconds to look; None: what decisions ask for is as before."""
    if before and replace(before, resource_version=after.resource_version) == after:
        return None
    if isinstance(after, JobView):
        return AT_ONCE if after.end else GATHER_SECONDS
    if after.exit:
        return GATHER_SECONDS if after.exit.code else END_SECONDS
    is_held = after.waiting and after.waiting.reason not in ORDINARY
    is_well = not (after.deleting or after.disruption or after.unschedulable or is_held)
    return START_SECONDS if is_well and after.live else GATHER_SECONDS


def urgency_of_end(gone: Child) -> float:
    """Returns within how many seconds to look, now that it was deleted."""
    return AT_ONCE if isinstance(gone, JobView) else GATHER_SECONDS
