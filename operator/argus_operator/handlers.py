"""kopf's handlers: the only decorators. An event becomes a key in the queue, no more.

`on.event` alone: kopf then keeps no state, writes no annotation and no finalizer. The
watches of Jobs and pods are cut to our own by a label selector on the server; a key of
the mapping matches one resource only, so our own kind is watched whole.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import kopf

from argus_contract import names
from argus_operator.children import Children
from argus_operator.cluster import CHUNK, OWN_CHILDREN
from argus_operator.queue import WorkQueue
from argus_operator.runs import Change, Runs
from argus_operator.stateless import NoDiffBase, NoProgress
from argus_operator.urgency import AT_ONCE, urgency, urgency_of_end
from argus_operator.views import JobView, Key, PodView, key_of_run, read_job, read_pod, read_run

IDLE_SECONDS = 0.1
"""For which kopf keeps a task and the whole last event of an object, in case another comes: its own
five seconds are memory for thousands of them, when many runs come at once."""
_JOB = ("batch", "v1", "jobs")
_POD = ("", "v1", "pods")


def settings() -> kopf.OperatorSettings:
    """Returns kopf's settings: it watches, and does nothing else."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.persistence.diffbase_storage = NoDiffBase()
    chosen.persistence.progress_storage = NoProgress()
    chosen.queueing.idle_timeout = IDLE_SECONDS
    chosen.watching.chunk_size = CHUNK
    chosen.watching.label_selectors[_only(_JOB)] = OWN_CHILDREN
    chosen.watching.label_selectors[_only(_POD)] = OWN_CHILDREN
    return chosen


def _only(kind: tuple[str, str, str]) -> Callable[[Any], bool]:
    """Returns a selector of exactly one kind."""

    def matches(resource: Any) -> bool:
        return (resource.group, resource.version, resource.plural) == kind

    return matches


def register(
    queue: WorkQueue,
    runs: Runs,
    children: Children,
    service_account_server: str | None,
) -> Any:
    """Returns a registry of kopf with all handlers of the operator.

    `service_account_server` is the API server's address inside a cluster; None: KUBECONFIG
    says where it is.
    """
    registry = kopf.OperatorRegistry()

    def look_at(key: Key, within: float = AT_ONCE) -> None:
        if not runs.is_settled(key, children.jobs(key)):
            queue.add_within(key, within)

    def hear(event: Any, child: JobView | PodView | None) -> None:
        if child is None:
            return
        before = children.find(child)
        if event["type"] == "DELETED":
            children.drop(child)
            look_at(child.key, urgency_of_end(child))
        elif children.put(child):
            within = urgency(before, child)
            if within is not None:
                look_at(child.key, within)

    @kopf.on.login(registry=registry)
    def login(**arguments: Any) -> Any:
        if service_account_server is None:
            return kopf.login_with_kubeconfig(**arguments)
        account = kopf.login_with_service_account(**arguments)
        # kopf takes the server's DNS name; a cluster may have no DNS for the operator.
        return account and replace(account, server=service_account_server)

    def is_news(event: Any, **_: Any) -> bool:
        """Keeps kopf from calling a handler for each of our own writes, which come back."""
        raw = event["object"]
        version = int(raw["metadata"]["resourceVersion"])
        return event["type"] == "DELETED" or runs.is_newer(key_of_run(raw), version)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry, when=is_news)
    async def run_changed(event: Any, **_: Any) -> None:
        raw = event["object"]
        key, version = key_of_run(raw), int(raw["metadata"]["resourceVersion"])
        if event["type"] == "DELETED":
            runs.drop(key, version)
            queue.add(key)
        elif runs.put(read_run(raw)) is Change.WISH:
            look_at(key)

    @kopf.on.event(*_JOB, registry=registry)
    async def job_changed(event: Any, **_: Any) -> None:
        hear(event, read_job(event["object"]))

    @kopf.on.event(*_POD, registry=registry)
    async def pod_changed(event: Any, **_: Any) -> None:
        hear(event, read_pod(event["object"]))

    return registry
