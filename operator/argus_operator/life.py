"""The order in which the parts of a process start, act and stop.

A replica that stands by watches already, so that it knows all runs when it is elected. The
first part that ends, ends all: what is in hand is finished, and only then the lease goes to
another replica. Nothing else is kept: all state is in the API server and the bucket.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from argus_operator.election import Election
from argus_operator.errors import ScopeTaken
from argus_operator.queue import WorkQueue
from argus_operator.scopes import Scopes

FINISH_SECONDS = 20.0
"""For what is in hand when the process is told to stop; below the pod's grace period."""

_log = structlog.get_logger()


async def live(
    *,
    election: Election,
    scopes: Scopes,
    queue: WorkQueue,
    begin: Callable[[], None],
    working: Coroutine[Any, Any, None],
    listing: Coroutine[Any, Any, None],
    reflecting: Coroutine[Any, Any, None],
    watching: Coroutine[Any, Any, None],
    stop: asyncio.Event,
) -> None:
    """Returns after `stop` was set. Raises what ended a part, often an Ending.

    `begin` opens the queue, when this replica is to act.
    """
    worker = asyncio.create_task(working)
    electing = asyncio.create_task(election.run())
    parts = [
        worker,
        asyncio.create_task(listing),
        asyncio.create_task(reflecting),
        electing,
        asyncio.create_task(_act(election, scopes, begin)),
        asyncio.create_task(_until(stop)),
    ]
    # kopf cancels at its own end every task that was not there when it began.
    await asyncio.sleep(0)
    parts.append(asyncio.create_task(watching))
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        await _finish(queue, worker)
        if election.lease.left() > 0:
            electing.cancel()
            await asyncio.wait([electing])
            await election.release()
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
    for part in done:
        part.result()


async def _act(election: Election, scopes: Scopes, begin: Callable[[], None]) -> None:
    await election.elected.wait()
    try:
        await scopes.claim()
        begin()
        _log.info("leading", lease=str(election.lease))
        await scopes.keep()
    except ScopeTaken:
        await scopes.give_back()
        raise


async def _finish(queue: WorkQueue, worker: asyncio.Task[None]) -> None:
    try:
        async with asyncio.timeout(FINISH_SECONDS):
            await queue.close()
    except TimeoutError:
        _log.warning("stopped in the middle of a run", after_seconds=FINISH_SECONDS)
    worker.cancel()
    await asyncio.wait([worker])


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
