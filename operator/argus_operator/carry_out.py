"""Does what a decision asks for: the only writer of Jobs and pods.

Every action may be repeated: a Job is made under a name that only this run's generation
has, and AlreadyExists is answered by looking whose it is.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.configuration import Configuration
from argus_operator.decision import Action, CreateJob, DeleteJob, ProveJob
from argus_operator.errors import (
    AlreadyExists,
    ApiError,
    ApiUnreachable,
    Conflict,
    Invalid,
    Refused,
    api_error,
)
from argus_operator.job import build_job
from argus_operator.observed import Observed, Refusal
from argus_operator.views import Hindrance, JobView

TOLD_AFTER = 2
"""Failures in a row after which a Job that cannot be made is the run's state, and not a fault that
passes: a webhook that is down may stay down for hours, and the run must say so meanwhile."""


class Executor:
    def __init__(
        self,
        *,
        cluster: Cluster,
        children: Children,
        configuration: Configuration,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._children = children
        self._configuration = configuration
        self._clock = clock

    async def carry_out(self, actions: tuple[Action, ...], observed: Observed) -> Observed:
        """Returns the picture after the actions: what to decide the status from."""
        for action in actions:
            if isinstance(action, CreateJob):
                if observed.refusal:
                    continue  # what was to be proved before it is wrong
                observed = await self._create(action, observed)
            elif isinstance(action, ProveJob):
                observed = await self._prove(action.job, observed)
            elif isinstance(action, DeleteJob):
                await self._cluster.delete_job(action.job)
            else:
                await self._cluster.delete_pod(action.pod)
        return observed

    async def _prove(self, create: CreateJob, observed: Observed) -> Observed:
        job = build_job(observed.run, create, self._configuration)
        try:
            await self._cluster.prove_job(job)
        except Invalid as error:
            return replace(observed, refusal=_refusal(error))
        except (AlreadyExists, Refused):
            # What stands there or is not allowed now may be otherwise when the Job is made.
            return observed
        except (ApiError, ApiUnreachable) as error:
            if _may_pass(error, observed):
                raise
        return observed

    async def _create(self, create: CreateJob, observed: Observed) -> Observed:
        run = observed.run
        try:
            job = await self._cluster.create_job(build_job(run, create, self._configuration))
        except AlreadyExists:
            found = await self._cluster.get_job(run.key, create.name)
            if found is None or found.owner_uid != run.uid:
                refusal = Refusal(hindrance=_predecessor(create, found), predecessor=True)
                return replace(observed, refusal=refusal)
            if found.end:
                # Made before, by a request whose answer was lost: it is judged by the last words of
                # its pods, and nobody has read them for this picture.
                self._children.put(found)
                raise api_error(409, "Conflict", f"Job {create.name} has ended already") from None
            job = found
        except Refused as error:
            return replace(observed, refusal=_refusal(error))
        except (ApiError, ApiUnreachable) as error:
            if _may_pass(error, observed):
                raise
            said = error.message if isinstance(error, ApiError) else str(error)
            hindrance = Hindrance(reason="JobNotMade", message=said)
            return replace(observed, refusal=Refusal(hindrance=hindrance))
        self._children.put(job)
        jobs = tuple(known for known in observed.jobs if known.uid != job.uid)
        return replace(observed, now=self._clock(), jobs=(*jobs, job))


def _may_pass(error: ApiError | ApiUnreachable, observed: Observed) -> bool:
    return isinstance(error, Conflict) or observed.failures < TOLD_AFTER


def _refusal(error: Refused) -> Refusal:
    return Refusal(
        hindrance=Hindrance(reason="JobRefused", message=error.message),
        invalid=isinstance(error, Invalid),
    )


def _predecessor(create: CreateJob, found: JobView | None) -> Hindrance:
    is_leaving = found is None or found.deleting
    state = "is being deleted" if is_leaving else "still stands: delete it, or choose another name"
    return Hindrance(
        reason="WaitingForPredecessor",
        message=f"Job {create.name} of an earlier ArgusTrainingJob of this name {state}.",
    )
