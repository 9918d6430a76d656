"""kopf's handlers: the only decorators. An event becomes a key in the queue, no more.

`on.event` alone: kopf then keeps no state, writes no annotation and no finalizer. It watches our
own kind; Jobs and pods, of which there is much more news, are `reflector`'s.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from argus_contract import names
from argus_operator.connection import CHUNK
from argus_operator.queue import WorkQueue
from argus_operator.reading import key_of_run, read_run
from argus_operator.runs import Change, Runs
from argus_operator.stateless import NoDiffBase, NoProgress

IDLE_SECONDS = 0.1
"""For which kopf keeps a task and the whole last event of an object, in case another comes: its own
five seconds are memory for thousands of them, when many runs come at once."""
BACKOFFS = (1, 1, 2, 3, 5, 8, 13, 21, *(30,) * 18)
"""Seconds between tries of a request that fails; after the last kopf ends, and the process with it:
as late as `reflector` gives up."""
REQUEST_SECONDS = 30.0
"""For one that is no watch: a connection may have died without a word."""
LOGIN_PAUSE = 5.0
"""Before a token that was refused is tried again."""


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
    chosen.networking.error_backoffs = BACKOFFS
    chosen.networking.request_timeout = REQUEST_SECONDS
    return chosen


def register(
    queue: WorkQueue,
    runs: Runs,
    service_account_server: str | None,
) -> Any:
    """Returns a registry of kopf with all handlers of the operator.

    `service_account_server` is the API server's address inside a cluster; None: KUBECONFIG
    says where it is.
    """
    registry = kopf.OperatorRegistry()
    given: str | None = None

    @kopf.on.login(registry=registry)
    async def login(**arguments: Any) -> Any:
        nonlocal given
        if service_account_server is None:
            return kopf.login_with_kubeconfig(**arguments)
        account = kopf.login_with_service_account(**arguments)
        if account is None:
            return None
        if account.token == given:
            await asyncio.sleep(LOGIN_PAUSE)
        given = account.token
        # kopf takes the server's DNS name; a cluster may have no DNS for the operator. And it ends
        # when it is given what was refused once: by this time no two are the same.
        never = datetime.now(UTC) + timedelta(days=3650)
        return replace(account, server=service_account_server, expiration=never)

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
            return
        if runs.put(read_run(raw)) is Change.WISH:
            queue.add(key)

    return registry
