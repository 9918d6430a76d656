"""Which installation serves which namespaces: no two serve the same.

Each namespace that an installation names carries a Lease `argus-scope` of the installation's
name; one that serves all namespaces has it in its own, reads those of all others, and
writes its refusal onto one that is new. So each start sees whoever was first: two of named
namespaces meet at the Lease itself; one of all finds the Leases of the named; and one of
named namespaces waits a moment for the refusal of one of all. An installation keeps its
place for `TERMS.duration` while none of its replicas runs.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from argus_contract.names import ANNOTATION_REFUSED_BY, SCOPE_LEASE
from argus_operator.cluster import Cluster
from argus_operator.errors import LeadershipLost, OperatorError, ScopeTaken
from argus_operator.lease import Lease, Terms
from argus_operator.views import LeaseView

TERMS = Terms(duration=60, deadline=45.0, retry=15.0)
LOOK_SECONDS = 2.0
"""Between two looks for Leases of others."""
REFUSAL_SECONDS = 6.0
"""A new Lease is refused within this time, or not at all."""

_log = structlog.get_logger()


class Scopes:
    def __init__(
        self,
        *,
        cluster: Cluster,
        installation: str,
        leases: Sequence[Lease],
        serves_all: bool,
        clock: Callable[[], float],
    ) -> None:
        """`installation`: namespace/name, the holder of all `leases`."""
        self._cluster = cluster
        self._installation = installation
        self._leases = leases
        self._serves_all = serves_all
        self._clock = clock
        self._due = dict.fromkeys((str(lease) for lease in leases), 0.0)

    def left(self) -> float:
        """Returns for how many seconds all of them are surely held."""
        return min(lease.left() for lease in self._leases)

    async def claim(self) -> None:
        """Takes all, or raises ScopeTaken or LeadershipLost."""
        new = [lease for lease in self._leases if await self._take(lease)]
        if self._serves_all:
            await self._meet_others(is_new=bool(new))
        elif new:
            await self._wait(REFUSAL_SECONDS)
            for lease in new:
                await lease.look()
                _check(lease)

    async def keep(self) -> None:
        """Renews for ever. Raises ScopeTaken or LeadershipLost."""
        while True:
            await self._wait(LOOK_SECONDS)
            self._check_held()
            if self._serves_all:
                await self._refuse(await self._others())

    async def give_back(self) -> None:
        """After a refusal: what was claimed is not wanted any more."""
        for lease in self._leases:
            try:
                await lease.release()
            except OperatorError as error:
                _log.warning("lease not released", lease=str(lease), error=str(error))

    async def _take(self, lease: Lease) -> bool:
        """Returns whether it is a new claim and not an old one that goes on."""
        while True:
            try:
                seen = await lease.look()
                is_new = seen is None or seen.holder != self._installation or _is_over(seen)
                version = seen.resource_version if seen else ""
                while await lease.look() and lease.frees_in() > 0:
                    if lease.seen and lease.seen.resource_version != version:
                        raise _taken(lease.namespace, f"{lease.other} (Lease {lease})")
                    await self._wait(LOOK_SECONDS)
                if await lease.hold():
                    self._due[str(lease)] = self._clock() + lease.terms.retry
                    return is_new
            except OperatorError as error:
                _log.warning("lease not reached", lease=str(lease), error=str(error))
            await self._wait(LOOK_SECONDS)

    async def _meet_others(self, *, is_new: bool) -> None:
        """Gives way to whoever is there and alive, if new; else sees them go."""
        others = await self._others()
        began = self._clock()
        first: dict[str, LeaseView] = {}
        while others:
            for other in others:
                before = first.setdefault(str(other), other)
                # One that was refused in our name, and does not obey, is nobody to give way to.
                is_refused = other.refused_by == self._refusal()
                is_alive = other.resource_version != before.resource_version
                if is_new and is_alive and not is_refused:
                    raise _taken(other.namespace, f"{other.holder} (Lease {other})")
            if not is_new:
                await self._refuse(others)
            if self._clock() - began > TERMS.duration:
                return  # none of them is alive, or none obeys
            await self._wait(LOOK_SECONDS)
            others = await self._others()

    async def _others(self) -> list[LeaseView]:
        """Returns their Leases, as soon as the API server tells them."""
        while True:
            try:
                found = await self._cluster.list_leases(SCOPE_LEASE)
            except OperatorError as error:
                # Not an empty list: whoever is there would be overlooked.
                _log.warning("leases not listed", error=str(error))
            else:
                return [lease for lease in found if lease.holder not in ("", self._installation)]
            self._check_held()
            await self._wait(LOOK_SECONDS)

    def _check_held(self) -> None:
        if self.left() <= 0:
            raise LeadershipLost("the Leases of the namespaces could not be renewed")

    async def _refuse(self, others: Sequence[LeaseView]) -> None:
        text = self._refusal()
        for other in others:
            if other.refused_by != text:
                _log.warning("namespace refused", namespace=other.namespace, to=other.holder)
                try:
                    await self._cluster.annotate_lease(other, {ANNOTATION_REFUSED_BY: text})
                except OperatorError as error:  # the next look tries again
                    _log.warning("lease not refused", lease=str(other), error=str(error))

    def _refusal(self) -> str:
        return f"{self._installation} (Lease {self._leases[0]}), which serves all namespaces"

    async def _wait(self, seconds: float) -> None:
        """Sleeps, and renews what is due."""
        await asyncio.sleep(seconds)
        for lease in self._leases:
            if lease.left() <= 0 or self._clock() < self._due[str(lease)]:
                continue
            try:
                if not await lease.hold():
                    _check(lease)
                    continue
                self._due[str(lease)] = self._clock() + lease.terms.retry
            except OperatorError as error:
                _log.warning("lease not reached", lease=str(lease), error=str(error))


def _is_over(lease: LeaseView) -> bool:
    """By the time stamp: it says who was there first, and not whether anybody acts."""
    if lease.renewed is None:
        return True
    return datetime.now(UTC) - lease.renewed > timedelta(seconds=lease.duration)


def _check(lease: Lease) -> None:
    if lease.seen and lease.seen.refused_by:
        raise _taken(lease.namespace, lease.seen.refused_by)
    if lease.other:
        raise _taken(lease.namespace, f"{lease.other} (Lease {lease})")


def _taken(namespace: str, by: str) -> ScopeTaken:
    return ScopeTaken(
        f"namespace {namespace} is served already, by {by}. Give both installations "
        "watchNamespaces that share none (an empty list is all of them), or uninstall one; a Lease "
        "whose owner is gone frees itself within a minute"
    )
