"""Has the run ended? Then nothing is decided again, and nothing may run any more.

Terminal states latch: a child that vanished later is not missed. What is left to do is to
tidy up, after the terminal status was stored: a Job that still runs (its image name can
never work) goes at once, one that ended after `ttlSecondsAfterFinished`.
"""

from datetime import datetime, timedelta

from argus_contract.status import ArgusTrainingJobStatus
from argus_operator.decision import Decision, DeleteJob
from argus_operator.observed import Observed
from argus_operator.views import RunView


def has_ended(observed: Observed) -> bool:
    return observed.run.status.has_ended


def tidy(observed: Observed) -> Decision:
    """Returns the decision for a run that has ended."""
    due = _end_of_life(observed)
    is_due = due is not None and observed.now >= due
    standing = tuple(job for job in observed.jobs if not job.deleting)
    unwanted = tuple(DeleteJob(job=job) for job in standing if is_due or job.end is None)
    return Decision(
        actions=unwanted,
        status=_of_this_generation(observed.run),
        news=(),
        wake_at=due if standing and not is_due else None,
    )


def _of_this_generation(run: RunView) -> ArgusTrainingJobStatus:
    """Says that what may change of an ended run was seen: `kubectl wait` asks for that."""
    status, generation = run.status, run.generation
    if run.is_told:
        return status
    return status.model_copy(
        update={
            "observed_generation": generation,
            "conditions": tuple(
                condition.model_copy(update={"observed_generation": generation})
                for condition in status.conditions
            ),
        }
    )


def _end_of_life(observed: Observed) -> datetime | None:
    spec, ended = observed.run.spec, observed.run.status.completion_time
    if spec is None or spec.ttl_seconds_after_finished is None or ended is None:
        return None
    return ended + timedelta(seconds=spec.ttl_seconds_after_finished)
