"""What `benchmarks.operator` puts on a control plane, and how it watches what comes of it.

Watches ask for metadata alone, so that the clock of this process is not held up by parsing. A time
is taken when the request is sent and when the event has been read.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from argus_contract import names
from stage.control_plane import ControlPlane

NUM_CONNECTIONS = 48
PATIENCE_SECONDS = 600
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_ENOUGH = aiohttp.ClientTimeout(total=None, sock_connect=30)

JsonObject = dict[str, Any]


def make_plain_job(name: str, like: Mapping[str, Any]) -> JsonObject:
    """Returns a Job with the spec of one that the operator made, owned by nobody."""
    spec = {
        key: value
        for key, value in like["spec"].items()
        if key in ("backoffLimit", "completions", "parallelism", "podFailurePolicy")
    }
    template = {"spec": like["spec"]["template"]["spec"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {**spec, "podReplacementPolicy": "Failed", "template": template},
    }


def make_foreign_pod(name: str) -> JsonObject:
    """Returns a pod that is none of the operator's business, and that no scheduler takes."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "somebody-elses"}},
        "spec": {
            "schedulerName": "nobody",
            "containers": [{"name": "work", "image": "registry.example/work:1"}],
        },
    }


class Seen:
    """When each object was seen first, by the name that `name_of` reads from its metadata."""

    def __init__(self, name_of: Callable[[JsonObject], str]) -> None:
        self._name_of = name_of
        self.at: dict[str, float] = {}
        self._changed = asyncio.Event()

    def take(self, metadata: JsonObject) -> None:
        self.at.setdefault(self._name_of(metadata), time.monotonic())
        self._changed.set()

    async def until(self, count: int, what: str) -> None:
        """Waits until so many have been seen. Raises TimeoutError."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(self.at) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"{len(self.at)} of {count} {what} after {PATIENCE_SECONDS} s"
            ) from None


class Load:
    """An administrator with many connections."""

    def __init__(self, plane: ControlPlane, session: aiohttp.ClientSession) -> None:
        self._server = plane.addresses.api_server
        self._session = session

    @classmethod
    @asynccontextmanager
    async def on(cls, plane: ControlPlane) -> AsyncIterator["Load"]:
        connector = aiohttp.TCPConnector(ssl=plane.tls(), limit=NUM_CONNECTIONS + 8)
        async with aiohttp.ClientSession(connector=connector, timeout=_ENOUGH) as session:
            yield cls(plane, session)

    async def create(
        self, path: str, documents: Iterable[JsonObject], per_second: float | None = None
    ) -> dict[str, float]:
        """Posts all, at this rate or at once; returns when each request was sent, by name."""
        sent: dict[str, float] = {}
        if per_second is None:
            waiting = iter(documents)

            async def worker() -> None:
                for document in waiting:
                    await self._post(path, document, sent)

            async with asyncio.TaskGroup() as group:
                for _ in range(NUM_CONNECTIONS):
                    group.create_task(worker())
            return sent
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, document in enumerate(documents):
                await asyncio.sleep(max(0.0, begun + number / per_second - time.monotonic()))
                group.create_task(self._post(path, document, sent))
        return sent

    async def _post(self, path: str, document: JsonObject, sent: dict[str, float]) -> None:
        sent[document["metadata"]["name"]] = time.monotonic()
        async with self._session.post(self._server + path, json=document) as response:
            if response.status != 201:
                raise RuntimeError(f"POST {path}: {response.status} {await response.text()}")

    async def delete_namespaces(self, *namespaces: str) -> None:
        """Deletes namespaces, and waits until nothing of them is left."""
        for name in namespaces:
            await self._session.delete(f"{self._server}/api/v1/namespaces/{name}")
        for name in namespaces:
            while True:
                url = f"{self._server}/api/v1/namespaces/{name}"
                async with self._session.get(url) as response:
                    if response.status == 404:
                        break
                await asyncio.sleep(1.0)

    @asynccontextmanager
    async def watching(
        self, path: str, name_of: Callable[[JsonObject], str], **selectors: str
    ) -> AsyncIterator[Seen]:
        """Watches a kind; `selectors`: labelSelector, fieldSelector."""
        seen, stands = Seen(name_of), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._watch(path, selectors, seen, stands))
            await stands.wait()
            yield seen
            task.cancel()

    async def _watch(
        self, path: str, selectors: Mapping[str, str], seen: Seen, stands: asyncio.Event
    ) -> None:
        query = {"watch": "true", "timeoutSeconds": "3600", **selectors}
        url = self._server + path
        headers = {"Accept": _METADATA}
        # The API server ends a watch that falls behind; a new one begins with all that there is.
        while True:
            async with self._session.get(url, params=query, headers=headers) as response:
                response.raise_for_status()
                stands.set()
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = json.loads(line)
                        if event["type"] in ("ADDED", "MODIFIED"):
                            seen.take(event["object"]["metadata"])


def by_name(metadata: JsonObject) -> str:
    return str(metadata["name"])


def by_run(metadata: JsonObject) -> str:
    return str(metadata["labels"][names.LABEL_RUN_NAME])
