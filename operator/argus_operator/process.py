"""Puts the rooms together and lets them live until one of them fails or SIGTERM comes.

All state is in the API server and the bucket, so a process that is killed at any moment
is replaced by one that lists, looks, and goes on.
"""

import asyncio
import contextlib
import gc
import random
import time
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
import kopf
import structlog
from kopf._cogs.structs.references import Insights

from argus_contract.names import SCOPE_LEASE
from argus_operator import election as elections
from argus_operator import handlers, scopes
from argus_operator.carry_out import Executor
from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.configuration import Configuration, ConfigurationError
from argus_operator.election import Election
from argus_operator.errors import OperatorError, StartError, WatchFailed
from argus_operator.events import EventWriter
from argus_operator.health import Health, serve
from argus_operator.hindrances import Hindrances
from argus_operator.lease import Lease, Terms
from argus_operator.life import live
from argus_operator.observe import Observer
from argus_operator.progress import ProgressReader
from argus_operator.queue import WorkQueue
from argus_operator.reconcile import Reconciler
from argus_operator.reflector import Reflector
from argus_operator.resync import Resync
from argus_operator.runs import Runs
from argus_operator.scopes import Scopes
from argus_operator.stateless import NoMemories
from argus_operator.status import StatusWriter
from argus_operator.workers import Slots, work

START_PATIENCE_SECONDS = 60.0
"""How long the CRD and the API server may be missing at start."""
FULL_COLLECTION_AFTER = 1000
"""Collections of the second generation between two of all, a hundred times Python's own. Each
reads all that is known of every run, 0.1 s with 1,000 that train, and finds two objects a run."""

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the process is told by its environment."""

    configuration_path: Path
    kubeconfig: str | None
    """None: the pod's service account."""
    probes: str | None
    """host:port to answer probes at."""
    replica: str
    """Name of this process: no two that run at a time share it. The pod's name."""

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
            probes=environment.get("ARGUS_PROBES"),
            replica=environment.get("ARGUS_REPLICA") or f"argus-operator-{uuid.uuid4().hex[:8]}",
        )


def _now() -> datetime:
    return datetime.now(UTC)


def _uptime() -> float:
    """Returns seconds that count on while the process or the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def run(
    surroundings: Surroundings, configuration: Configuration, stop: asyncio.Event
) -> None:
    """Runs the operator until `stop` is set. Raises an Ending."""
    runs, children = Runs(), Children()
    queue = WorkQueue(
        time.monotonic,
        random.Random(),
        lambda key: runs.is_settled(key, children.jobs(key)),
    )
    namespaces = configuration.watch_namespaces
    async with contextlib.AsyncExitStack() as stack:
        cluster = await Cluster.connect(surroundings.kubeconfig)
        stack.push_async_callback(cluster.close)
        # Without a limit, or pods that keep theirs open would keep others from being asked.
        pods = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=pods, trust_env=False)
        )
        resync = Resync(
            cluster=cluster,
            runs=runs,
            children=children,
            queue=queue,
            namespaces=namespaces,
            clock=time.monotonic,
        )
        reflector = Reflector(
            cluster=cluster,
            children=children,
            queue=queue,
            namespaces=namespaces,
            clock=time.monotonic,
            jitter=random.Random(),
        )
        slots = Slots()
        reconciler = Reconciler(
            runs=runs,
            observer=Observer(
                cluster=cluster,
                runs=runs,
                children=children,
                reader=ProgressReader(session, slots.lent),
                hindrances=Hindrances(cluster, children, slots.lent, time.monotonic),
                configuration=configuration,
                clock=_now,
            ),
            executor=Executor(
                cluster=cluster, children=children, configuration=configuration, clock=_now
            ),
            status=StatusWriter(cluster, time.monotonic),
            events=EventWriter(cluster, _now, surroundings.replica),
            configuration=configuration,
            clock=_now,
        )
        election, claims = _leases(cluster, configuration, surroundings.replica)
        cluster.fence(lambda: min(election.lease.left(), claims.left()))
        if surroundings.probes:
            probes = await serve(Health(queue, resync, election), surroundings.probes)
            stack.push_async_callback(probes.cleanup)
        if not await _unless(stop, _wait_for_cluster(cluster, resync)):
            return
        # What stands by now stays: looking through all of it again and again holds up every run.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_AFTER)
        _log.info(
            "operator started",
            cluster=configuration.cluster_name,
            namespaces=",".join(namespaces) or "all",
        )
        await live(
            election=election,
            scopes=claims,
            queue=queue,
            begin=resync.begin,
            working=work(queue, reconciler, slots),
            listing=resync.run(),
            reflecting=reflector.run(),
            watching=_watch(
                registry=handlers.register(
                    queue,
                    runs,
                    service_account_server=None if surroundings.kubeconfig else cluster.server,
                ),
                settings=handlers.settings(),
                memories=NoMemories(),
                # kopf's own way to name itself fails for a user id without a name.
                identity=cast(Any, surroundings.replica),
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
            ),
            stop=stop,
        )
        _log.info("operator stopped")


def _leases(
    cluster: Cluster, configuration: Configuration, replica: str
) -> tuple[Election, Scopes]:
    installation = configuration.installation

    def lease(namespace: str, name: str, holder: str, terms: Terms) -> Lease:
        return Lease(
            cluster=cluster,
            namespace=namespace,
            name=name,
            holder=holder,
            terms=terms,
            clock=_uptime,
        )

    own = lease(installation.namespace, installation.name, replica, elections.TERMS)
    claimed = configuration.watch_namespaces or (installation.namespace,)
    claims = Scopes(
        cluster=cluster,
        installation=str(installation),
        leases=[lease(ns, SCOPE_LEASE, str(installation), scopes.TERMS) for ns in claimed],
        serves_all=not configuration.watch_namespaces,
        clock=_uptime,
    )
    return Election(own), claims


async def _watch(**arguments: Any) -> None:
    """Lets kopf watch; it survives much, but not every answer to a watch request."""
    insights = Insights()
    try:
        async with asyncio.TaskGroup() as group:
            # Before kopf: it cancels at its end every task that was not there when it began.
            group.create_task(_found(insights))
            group.create_task(kopf.operator(insights=insights, **arguments))
    except ExceptionGroup as failed:
        error = failed.exceptions[0]
        if isinstance(error, WatchFailed):
            raise error from None
        raise WatchFailed(f"kopf ended with {type(error).__name__}: {error}") from error
    raise WatchFailed("kopf ended")


async def _found(insights: Insights) -> None:
    """Raises WatchFailed if kopf does not find our kind: it looks once, and would watch nothing.

    With several API servers it may have asked one that does not know a new CRD yet.
    """
    await insights.ready_resources.wait()
    if not insights.watched_resources:
        raise WatchFailed("kopf found no ArgusTrainingJob to watch")


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Returns whether the work was done before `stop` was set."""
    stopping, working = asyncio.create_task(stop.wait()), asyncio.create_task(work)
    await asyncio.wait([stopping, working], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait([working])
        return False
    working.result()
    return True


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
