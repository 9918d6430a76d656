"""The API server: all that the operator asks of it, and of nothing else (kopf watches the runs).

What the operator needs of an object is read by `reading`, and an unknown field must not matter.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from argus_contract import names
from argus_operator.connection import Connection, Read, WatchEvent
from argus_operator.errors import NotFound, api_error
from argus_operator.reading import Raw, read_job, read_lease, read_pod, read_run, read_runs
from argus_operator.views import JobView, Key, LeaseView, Listed, ListedRuns, PodView, RunView

OWN_CHILDREN = f"{names.LABEL_COMPONENT} in ({names.COMPONENT_TRAINER},{names.COMPONENT_PLANNER})"
"""Label selector of the Jobs and pods that the operator makes."""
_RUNS = f"/apis/{names.GROUP}/{names.VERSION}"
_LEASES = "/apis/coordination.k8s.io/v1"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Asks for an answer without what was just sent."""
LEASE_SECONDS = 4.0
"""A request about a lease is given up then: the next try may still save the lease."""


class Cluster(Connection):
    """What the operator asks of the API server. Methods raise errors of `errors.py`."""

    _kueue: str | None = None
    """Group and version in which Kueue serves its Workloads, once it was asked for."""

    async def serves_runs(self) -> bool:
        """Says whether the API server knows our kind: the CRD stands and is established."""
        try:
            found = await self._request("GET", _RUNS)
        except NotFound:
            return False
        return any(entry["name"] == names.PLURAL for entry in found["resources"])

    async def get_run(self, key: Key) -> RunView | None:
        try:
            return read_run(await self._request("GET", _path_of_run(key)))
        except NotFound:
            return None

    async def get_job(self, key: Key, name: str) -> JobView | None:
        """Reads a Job afresh, past the cache, and whatever its labels say by now."""
        try:
            return read_job(await self._request("GET", f"{_jobs(key.namespace)}/{name}"), key)
        except NotFound:
            return None

    async def list_pods_of(self, key: Key) -> tuple[PodView, ...]:
        """Reads the pods of one run afresh, past the cache."""
        selector = f"{OWN_CHILDREN},{names.LABEL_RUN_NAME}={key.name}"
        pods, _ = await self._list(_pods(key.namespace), read_pod, labelSelector=selector)
        return tuple(filter(None, pods))

    async def list_runs(
        self, namespace: str | None, is_wanted: Callable[[Key, int], bool]
    ) -> AsyncIterator[ListedRuns]:
        """Yields pages of all runs, with the documents of those whose version is wanted.

        `namespace` None: of all namespaces.
        """
        where = f"{_RUNS}/namespaces/{namespace}" if namespace else _RUNS
        async for page, version in self._pages(f"{where}/{names.PLURAL}", {}):
            yield read_runs(page, version, is_wanted)

    async def list_jobs(self, namespace: str | None) -> Listed:
        """Returns all our Jobs."""
        jobs, version = await self._list(_jobs(namespace), read_job, labelSelector=OWN_CHILDREN)
        return Listed(kind=JobView, children=tuple(filter(None, jobs)), version=version)

    async def list_pods(self, namespace: str | None) -> Listed:
        """Returns all our pods."""
        pods, version = await self._list(_pods(namespace), read_pod, labelSelector=OWN_CHILDREN)
        return Listed(kind=PodView, children=tuple(filter(None, pods)), version=version)

    def watch_jobs(self, namespace: str | None, version: int) -> AsyncIterator[WatchEvent]:
        """Yields changes of our Jobs after a version, until the API server ends the watch.

        Raises ApiUnreachable, or what the API server says: it forgets old versions (410).
        """
        return self._watch(_jobs(namespace), version, labelSelector=OWN_CHILDREN)

    def watch_pods(self, namespace: str | None, version: int) -> AsyncIterator[WatchEvent]:
        """Does with our pods as `watch_jobs`."""
        return self._watch(_pods(namespace), version, labelSelector=OWN_CHILDREN)

    async def list_warnings(self, namespace: str, read: Callable[[Raw], Read | None]) -> list[Read]:
        """Returns what `read` makes of the warning events of a namespace, without its Nones."""
        warnings, _ = await self._list(_events(namespace), read, fieldSelector="type=Warning")
        return [warning for warning in warnings if warning is not None]

    async def get_workload_of(self, job: JobView) -> Raw | None:
        """Reads Kueue's Workload of a Job; None where there is none, or no Kueue."""
        try:
            if self._kueue is None:
                group = await self._request("GET", f"/apis/{names.KUEUE_GROUP}")
                self._kueue = str(group["preferredVersion"]["groupVersion"])
            path = f"/apis/{self._kueue}/namespaces/{job.key.namespace}/workloads"
            selector = f"{names.KUEUE_JOB_UID_LABEL}={job.uid}"
            raw, _ = await self._list(path, _as_it_is, labelSelector=selector)
        except NotFound:
            self._kueue = None
            return None
        return raw[0] if raw else None

    async def prove_job(self, job: Mapping[str, Any]) -> None:
        """Asks whether a Job would be taken, without making it. Raises as `create_job`."""
        await self._post_job(job, {"dryRun": "All"})

    async def create_job(self, job: Mapping[str, Any]) -> JobView:
        """Raises AlreadyExists or Refused; a field that the API server does not know is Invalid."""
        created = read_job(await self._post_job(job, {}))
        if created is None:
            raise api_error(500, "NoLabels", "the Job came back without its labels")
        return created

    async def _post_job(self, job: Mapping[str, Any], query: Mapping[str, str]) -> Any:
        path = _jobs(job["metadata"]["namespace"])
        strictly = {"fieldValidation": "Strict", **query}
        return await self._request("POST", path, job, query=strictly)

    async def delete_job(self, job: JobView) -> None:
        """Deletes this very Job (by uid) and its pods; one that is gone is fine."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": job.uid},
        }
        try:
            await self._request("DELETE", f"{_jobs(job.key.namespace)}/{job.name}", options)
        except NotFound:
            return

    async def delete_pod(self, pod: PodView) -> None:
        """Deletes this very pod (by uid) without waiting for its node; one that is gone is fine."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod.uid},
        }
        try:
            await self._request("DELETE", f"{_pods(pod.key.namespace)}/{pod.name}", options)
        except NotFound:
            return

    async def replace_status(self, run: RunView, status: Mapping[str, Any]) -> str:
        """Writes the whole status; returns the resourceVersion that the run has then.

        Raises Conflict if the resource is not the one that was read, in any respect.
        """
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {
                "name": run.key.name,
                "namespace": run.key.namespace,
                "uid": run.uid,
                "resourceVersion": run.resource_version,
            },
            "status": status,
        }
        written = await self._request(
            "PUT", f"{_path_of_run(run.key)}/status", body, accept=_METADATA
        )
        return str(written["metadata"]["resourceVersion"])

    async def create_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        await self._request("POST", _events(namespace), event, accept=_METADATA)

    async def patch_event(self, namespace: str, name: str, patch: Mapping[str, Any]) -> None:
        await self._request(
            "PATCH",
            f"{_events(namespace)}/{name}",
            patch,
            content_type="application/merge-patch+json",
        )

    async def get_lease(self, namespace: str, name: str) -> LeaseView | None:
        try:
            return read_lease(await self._lease_request("GET", _lease(namespace, name)))
        except NotFound:
            return None

    async def list_leases(self, name: str) -> list[LeaseView]:
        """Returns the Leases of this name in all namespaces."""
        found = await self._lease_request(
            "GET", f"{_LEASES}/leases", query={"fieldSelector": f"metadata.name={name}"}
        )
        return [read_lease(raw) for raw in found["items"]]

    async def create_lease(self, namespace: str, lease: Mapping[str, Any]) -> LeaseView:
        """Raises AlreadyExists."""
        made = await self._lease_request("POST", f"{_LEASES}/namespaces/{namespace}/leases", lease)
        return read_lease(made)

    async def replace_lease(self, namespace: str, name: str, lease: Mapping[str, Any]) -> LeaseView:
        """Raises Conflict if it is not the one whose resourceVersion is given."""
        return read_lease(await self._lease_request("PUT", _lease(namespace, name), lease))

    async def annotate_lease(self, lease: LeaseView, annotations: Mapping[str, str]) -> None:
        """Raises Conflict if the lease has changed since it was read."""
        metadata = {"resourceVersion": lease.resource_version, "annotations": annotations}
        await self._lease_request(
            "PATCH",
            _lease(lease.namespace, lease.name),
            {"metadata": metadata},
            content_type="application/merge-patch+json",
        )

    async def _lease_request(self, method: str, path: str, *body: Any, **options: Any) -> Any:
        """Leases are asked for before one is held: no fence, and little patience."""
        return await self._request(method, path, *body, patience=LEASE_SECONDS, **options)


def _as_it_is(raw: Raw) -> Raw:
    return raw


def _path_of_run(key: Key) -> str:
    return f"{_RUNS}/namespaces/{key.namespace}/{names.PLURAL}/{key.name}"


def _lease(namespace: str, name: str) -> str:
    return f"{_LEASES}/namespaces/{namespace}/leases/{name}"


def _events(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def _jobs(namespace: str | None) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs" if namespace else "/apis/batch/v1/jobs"


def _pods(namespace: str | None) -> str:
    return f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
