"""Has the run ended? Then nothing is decided again, and nothing may run any more.

Terminal states latch: a child that vanished later is not missed. A Job that still runs
although the run has ended (its image name can never work) is removed, after the
terminal status was stored.
"""

from argus_contract.status import TERMINAL_PHASES
from argus_operator.decision import Decision, DeleteJob
from argus_operator.observed import Observed


def has_ended(observed: Observed) -> bool:
    return observed.run.status.phase in TERMINAL_PHASES


def tidy(observed: Observed) -> Decision:
    """Returns the decision for a run that has ended."""
    still_running = tuple(
        DeleteJob(job=job) for job in observed.jobs if job.end is None and not job.deleting
    )
    return Decision(actions=still_running, status=observed.run.status, news=(), wake_at=None)
