"""Which replica acts: the one that holds the election lease. The others stand by.

A replica that loses the lease leaves for good: what it had in hand may be old, and a process
that begins anew lists before it acts. Its writes end earlier, see `Cluster.fence`.
"""

import asyncio

import structlog

from argus_operator.errors import LeadershipLost, OperatorError
from argus_operator.lease import Lease, Terms

TERMS = Terms(duration=15, deadline=10.0, retry=2.0)

_log = structlog.get_logger()


class Election:
    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.elected = asyncio.Event()

    async def run(self) -> None:
        """Stands by until elected, then renews. Raises LeadershipLost."""
        await self._win()
        self.elected.set()
        while self.lease.left() > 0 and self.lease.other is None:
            await asyncio.sleep(min(self.lease.terms.retry, self.lease.left()))
            try:
                async with asyncio.timeout(self.lease.left()):
                    await self._try()
            except TimeoutError:
                break
        raise LeadershipLost(
            f"Lease {self.lease} "
            + (f"is held by {other}" if (other := self.lease.other) else "could not be renewed")
        )

    async def release(self) -> None:
        """Lets another replica act at once."""
        try:
            await self.lease.release()
        except OperatorError as error:
            _log.warning("lease not released", lease=str(self.lease), error=str(error))

    async def _win(self) -> None:
        known: str | None = None
        while not await self._try():
            if self.lease.other != known and (known := self.lease.other):
                _log.info("standing by", leader=known, lease=str(self.lease))
            # Just when it becomes free, if that is before the next look.
            pause = min(self.lease.terms.retry, self.lease.frees_in() or self.lease.terms.retry)
            await asyncio.sleep(pause)

    async def _try(self) -> bool:
        try:
            return await self.lease.hold()
        except OperatorError as error:
            _log.warning("lease not reached", lease=str(self.lease), error=str(error))
            return False
