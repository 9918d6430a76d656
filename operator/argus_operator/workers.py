"""Workers: take a key from the queue, reconcile it, put it back.

One task waits for the queue and makes a worker for each key, so that news wakes no crowd.
Bounded concurrency; each reconcile has a deadline, so that nothing can hold a worker for
good. A conflict is no failure: someone wrote meanwhile, look again at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from argus_operator.errors import Conflict, OperatorError
from argus_operator.queue import WorkQueue
from argus_operator.reconcile import Reconciler
from argus_operator.views import Key

NUM_WORKERS = 16
DEADLINE_SECONDS = 60.0

_log = structlog.get_logger()


class Slots:
    """Bounds how many work at a time."""

    def __init__(self, number: int = NUM_WORKERS) -> None:
        self._free = asyncio.Semaphore(number)
        self._owed = 0
        """Slots that were lent, and whose holder ended before it had one again."""

    async def take(self) -> None:
        await self._free.acquire()

    def give_back(self) -> None:
        if self._owed:
            self._owed -= 1
        else:
            self._free.release()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Lets others work while the holder of a slot waits for something slow."""
        self._free.release()
        try:
            yield
        finally:
            try:
                await self.take()
            except BaseException:  # its time is up: it will give back what it does not have
                self._owed += 1
                raise


async def work(queue: WorkQueue, reconciler: Reconciler, slots: Slots) -> None:
    """Works until cancelled."""
    async with asyncio.TaskGroup() as group:
        while True:
            key = await queue.take()
            await slots.take()
            worker = group.create_task(_handle(key, queue, reconciler))
            worker.add_done_callback(lambda _: slots.give_back())


async def _handle(key: Key, queue: WorkQueue, reconciler: Reconciler) -> None:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            wake_in = await reconciler.reconcile(key, queue.failures(key))
    except Conflict as error:
        if not queue.outdated(key):
            _retry(key, queue, str(error))
    except (OperatorError, TimeoutError) as error:
        _retry(key, queue, f"{type(error).__name__}: {error}")
    except Exception as error:
        # A bug met by one run must not stop the others; it is retried, loudly.
        _log.exception("reconcile failed", run=str(key))
        _retry(key, queue, f"{type(error).__name__}: {error}")
    else:
        queue.wake_in(key, wake_in)
        queue.done(key)


def _retry(key: Key, queue: WorkQueue, error: str) -> None:
    pause = queue.failed(key)
    _log.warning(
        "retry", run=str(key), failures=queue.failures(key), again_in=round(pause), error=error
    )
