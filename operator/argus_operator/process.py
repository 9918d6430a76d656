"""Puts the rooms together and runs them until one of them fails or SIGTERM comes.

All state is in the API server and the bucket, so a process that is killed at any moment
is replaced by one that lists, looks, and goes on.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
import kopf
import structlog

from argus_operator import handlers
from argus_operator.carry_out import Executor
from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.configuration import Configuration, ConfigurationError
from argus_operator.errors import OperatorError
from argus_operator.events import EventWriter
from argus_operator.health import ailment
from argus_operator.observe import Observer
from argus_operator.progress import ProgressReader
from argus_operator.queue import WorkQueue
from argus_operator.reconcile import Reconciler
from argus_operator.resync import Resync
from argus_operator.status import StatusWriter
from argus_operator.workers import work

START_PATIENCE_SECONDS = 60.0
"""How long the CRD and the API server may be missing at start."""

_log = structlog.get_logger()


class StartError(Exception):
    """The operator cannot start; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the process is told by its environment."""

    configuration_path: Path
    kubeconfig: str | None
    """None: the pod's service account."""
    liveness: str | None
    """Address to answer probes at."""
    instance: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Surroundings":
        """Raises ConfigurationError if ARGUS_CONFIG is not set."""
        if "ARGUS_CONFIG" not in environment:
            raise ConfigurationError(
                "ARGUS_CONFIG is not set: give the path of the configuration file of the chart"
            )
        in_cluster = "KUBERNETES_SERVICE_HOST" in environment
        default = Path.home() / ".kube" / "config"
        return cls(
            configuration_path=Path(environment["ARGUS_CONFIG"]),
            kubeconfig=environment.get("KUBECONFIG") or (None if in_cluster else str(default)),
            liveness=environment.get("ARGUS_LIVENESS"),
            instance=environment.get("HOSTNAME") or f"argus-operator-{os.getpid()}",
        )


def _now() -> datetime:
    return datetime.now(UTC)


async def run(surroundings: Surroundings, configuration: Configuration) -> None:
    """Runs the operator. Raises StartError."""
    queue = WorkQueue(time.monotonic, random.Random())
    children = Children()
    async with contextlib.AsyncExitStack() as stack:
        cluster = await Cluster.connect(surroundings.kubeconfig)
        stack.push_async_callback(cluster.close)
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        resync = Resync(
            cluster=cluster,
            children=children,
            queue=queue,
            namespaces=configuration.watch_namespaces,
        )
        reconciler = Reconciler(
            observer=Observer(
                cluster=cluster,
                children=children,
                reader=ProgressReader(session),
                configuration=configuration,
                clock=_now,
            ),
            executor=Executor(
                cluster=cluster, children=children, configuration=configuration, clock=_now
            ),
            status=StatusWriter(cluster, time.monotonic),
            events=EventWriter(cluster, _now, surroundings.instance),
            configuration=configuration,
            clock=_now,
        )
        await _wait_for_cluster(cluster, resync)
        _log.info(
            "operator started",
            cluster=configuration.cluster_name,
            namespaces=",".join(configuration.watch_namespaces) or "all",
        )
        await _until_first_end(
            kopf.operator(
                registry=handlers.register(
                    queue,
                    children,
                    ailment=lambda: ailment(queue, resync),
                    service_account_server=None if surroundings.kubeconfig else cluster.server,
                ),
                settings=handlers.settings(),
                # kopf's own way to name itself fails for a user id without a name.
                identity=cast(Any, surroundings.instance),
                standalone=True,
                clusterwide=not configuration.watch_namespaces,
                namespaces=configuration.watch_namespaces,
                liveness_endpoint=surroundings.liveness,
            ),
            work(queue, reconciler),
            resync.run(),
        )
        _log.info("operator stopped")


async def _wait_for_cluster(cluster: Cluster, resync: Resync) -> None:
    """kopf looks for kinds only once, at its start: the CRD must stand before."""
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while True:
        try:
            if await cluster.serves_runs():
                await resync.fill()
                return
            missing = "the API server does not know ArgusTrainingJob: install the chart's CRD"
        except OperatorError as error:
            missing = str(error)
        if time.monotonic() > deadline:
            raise StartError(missing)
        await asyncio.sleep(1.0)


async def _until_first_end(*parts: Coroutine[None, None, None]) -> None:
    """Runs parts together; the first that ends, ends all, and its error is raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
