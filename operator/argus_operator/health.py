"""What the kubelet asks: does it live, is it ready, has it started?

`/livez` fails where a restart helps: due work that nobody takes, or watches that have missed
news twice in a row. A blocked event loop shows as a probe that gets no answer. Whether
the cluster is busy is no question: a quiet one is healthy, and so is an API server that is away,
which ends a leader by its lease. `/readyz` is true of the leader and of a replica that
could follow it at once; `/startupz` once everything was listed for the first time.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from argus_operator.election import Election
from argus_operator.queue import WorkQueue
from argus_operator.resync import Resync

MAX_WAIT_SECONDS = 180.0
MAX_PASSES_WITH_MISSED_NEWS = 2

Answer = tuple[bool, str]
"""Whether all is well, and a sentence for people."""


class Health:
    def __init__(self, queue: WorkQueue, resync: Resync, election: Election) -> None:
        self._queue = queue
        self._resync = resync
        self._election = election

    def live(self) -> Answer:
        stalled = self._queue.stalled()
        if stalled > MAX_WAIT_SECONDS:
            return False, f"runs have been due for {stalled:.0f} s and no worker took one"
        if self._resync.passes_with_missed_news >= MAX_PASSES_WITH_MISSED_NEWS:
            return False, "two listings in a row found changes that no watch event had told"
        return True, "alive"

    def ready(self) -> Answer:
        if self._resync.is_stale():
            return False, "runs, Jobs and pods could not be listed"
        lease = self._election.lease
        if not self._election.elected.is_set():
            if lease.other is None:
                return False, f"nobody leads yet (Lease {lease})"
            return True, f"standing by; {lease.other} leads (Lease {lease})"
        if self._queue.is_open:
            return True, f"leading (Lease {lease})"
        return False, "claiming its namespaces, or stopping"

    def started(self) -> Answer:
        if self._resync.listed_at is None:
            return False, "runs, Jobs and pods are not listed yet"
        return True, "started"


async def serve(health: Health, address: str) -> web.AppRunner:
    """Answers probes at host:port, or :port of every address, until the runner is cleaned up."""

    def answering(
        question: Callable[[], Answer],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.Response:
            well, says = question()
            return web.Response(text=f"{says}\n", status=200 if well else 503)

        return answer

    app = web.Application()
    app.router.add_get("/livez", answering(health.live))
    app.router.add_get("/readyz", answering(health.ready))
    app.router.add_get("/startupz", answering(health.started))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    host, _, port = address.rpartition(":")
    await web.TCPSite(runner, host or None, int(port)).start()
    return runner
