"""Reads all that one decision needs and freezes it.

All of it comes from the caches; the API server is asked again only where acting on an old
picture would do harm: before something is done that cannot be undone (see `runs`), before a
Job counts as gone, and when a Job has ended and the last words of its pods must not be missed.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.configuration import Configuration
from argus_operator.errors import OperatorError, Refused, api_error
from argus_operator.hindrances import Hindrances
from argus_operator.observed import Observed
from argus_operator.policies.wake import SILENT, poll_interval
from argus_operator.progress import ProgressReader
from argus_operator.reading import read_workload
from argus_operator.runs import Runs
from argus_operator.views import Hindrance, JobEnd, JobView, Key, PodView, RunView

_log = structlog.get_logger()

PATIENCE = timedelta(seconds=5)
"""What does not start within this time is looked up in the cluster's events."""


class Observer:
    def __init__(
        self,
        *,
        cluster: Cluster,
        runs: Runs,
        children: Children,
        reader: ProgressReader,
        hindrances: Hindrances,
        configuration: Configuration,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._runs = runs
        self._children = children
        self._reader = reader
        self._hindrances = hindrances
        self._configuration = configuration
        self._clock = clock

    async def observe(self, key: Key) -> Observed | None:
        """Returns the picture of a run, or None if there is no such resource."""
        run = self._runs.get(key) or await self._read(key)
        if run is None:
            self.forget(key)
            return None
        observed = Observed(
            now=self._clock(),
            run=run,
            jobs=await self._jobs(run),
            pods=self._pods(key),
            num_active=max(1, self._runs.num_live),
        )
        if run.deleting or run.status.has_ended:
            self.forget(key)
            return observed
        job = observed.jobs[-1] if observed.jobs else None
        if job and job.end and not _is_told(job, observed):
            for pod in await self._cluster.list_pods_of(key):
                self._children.put(pod)
            observed = replace(observed, pods=self._pods(key))
        own = tuple(p for p in observed.pods if job and p.owner_uid == job.uid)
        await self._poll(own, observed)
        return replace(
            observed,
            polls=self._reader.polls_of(observed.pods),
            warnings=await self._warnings(job, own, observed),
            queued=await self._queued(job),
        )

    async def confirm(self, run: RunView) -> None:
        """Raises Conflict if the API server has another document of this run by now."""
        if run.status.has_ended:
            return  # read just now, and an end is never taken back
        newest = await self._read(run.key)
        if newest is None or newest.resource_version != run.resource_version:
            raise api_error(409, "Conflict", "the run has changed since it was looked at")

    async def _read(self, key: Key) -> RunView | None:
        run = await self._cluster.get_run(key)
        if run is None:
            self._runs.drop(key)
        else:
            self._runs.put(run)
        return run

    def forget(self, key: Key) -> None:
        """Forgets what only the life of a run needs."""
        self._reader.forget(self._children.pods(key))
        self._children.forget(key)

    def _pods(self, key: Key) -> tuple[PodView, ...]:
        return tuple(pod for pod in self._children.pods(key) if pod.is_ours)

    async def _jobs(self, run: RunView) -> tuple[JobView, ...]:
        known = self._children.jobs(run.key)
        name = run.status.job_name
        if name and not any(job.name == name for job in known):
            # Not for the cache: one that lost its labels is seen by no watch and no list.
            job = await self._cluster.get_job(run.key, name)
            known = (*known, job) if job else known
        return tuple(job for job in known if job.owner_uid == run.uid)

    async def _poll(self, pods: tuple[PodView, ...], observed: Observed) -> None:
        for pod in pods:
            if pod.running and pod.live and not _is_silent(pod, observed.now):
                interval = poll_interval(
                    self._configuration, pod, observed.now, observed.num_active
                )
                await self._reader.poll(pod, observed.now, interval)

    async def _warnings(
        self, job: JobView | None, pods: tuple[PodView, ...], observed: Observed
    ) -> tuple[Hindrance, ...]:
        """Reads events about what should have started by now."""
        if job is None or job.end or job.suspended:
            return ()
        pod = next((pod for pod in reversed(pods) if pod.live), None)
        if pod is None:
            newest = max([job.created, *(pod.created for pod in pods)])
            subject_uid, since = job.uid, newest
        elif not pod.running and pod.node:
            subject_uid, since = pod.uid, pod.created
        else:
            return ()
        if observed.now - since < PATIENCE:
            return ()
        return await self._hindrances.of(job.key.namespace, subject_uid, since)

    async def _queued(self, job: JobView | None) -> Hindrance | None:
        """Reads what Kueue says of a Job that it holds back."""
        if job is None or not job.suspended or not self._configuration.kueue_enabled:
            return None
        try:
            workload = await self._cluster.get_workload_of(job)
        except Refused:  # no right to read Workloads: the Job's own words must do
            return None
        except OperatorError as error:
            # A courtesy: a Kueue that is down must not keep a run from being suspended.
            _log.warning("workload not read", job=job.name, error=str(error))
            return None
        return read_workload(workload) if workload else None


def _is_told(job: JobView, observed: Observed) -> bool:
    """Says whether it is known how the pod ended by which the Job is complete."""
    ends = [pod.exit for pod in observed.pods if pod.owner_uid == job.uid and pod.exit]
    return job.end is JobEnd.COMPLETE and any(end.code == 0 for end in ends)


def _is_silent(pod: PodView, now: datetime) -> bool:
    # A node's clock may be ahead.
    return pod.started is not None and timedelta() <= now - pod.started < SILENT
