"""Holding one Lease: taken when it is free, renewed while it is held, given up in time.

Time is measured by a clock that only goes forward, here and not by the lease's time stamps: a
lease is free when nobody changed it for its duration since this process first saw it so.
The holder stops earlier: `deadline` seconds after it last *asked* for a renewal that was
granted. A step of the clock, a paused process or a server that does not answer can
therefore never make two holders at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from argus_operator.cluster import Cluster
from argus_operator.errors import AlreadyExists, Conflict, NotFound
from argus_operator.views import LeaseView


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Seconds."""

    duration: int
    """Others may take the lease when it was not renewed for so long."""
    deadline: float
    """The holder has stopped by then."""
    retry: float
    """Between two renewals, and between two looks of those who wait."""


class Lease:
    def __init__(
        self,
        *,
        cluster: Cluster,
        namespace: str,
        name: str,
        holder: str,
        terms: Terms,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self.namespace = namespace
        self.name = name
        self.holder = holder
        self.terms = terms
        self._clock = clock
        self.seen: LeaseView | None = None
        """As it was read or written last."""
        self._seen_at = 0.0
        """When this state of it was first seen."""
        self._held_until = 0.0

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def left(self) -> float:
        """Returns for how many seconds it is surely held; 0: not, or not any more."""
        return max(0.0, self._held_until - self._clock())

    @property
    def other(self) -> str | None:
        """Who else holds it, as far as is known."""
        holder = self.seen.holder if self.seen else ""
        return holder if holder and holder != self.holder else None

    async def look(self) -> LeaseView | None:
        """Reads it. Raises errors of `errors.py`."""
        found = await self._cluster.get_lease(self.namespace, self.name)
        known = self.seen
        if not (found and known and known.resource_version == found.resource_version):
            self._seen_at = self._clock()
        self.seen = found
        if self.other is not None:
            self._held_until = 0.0
        return found

    def frees_in(self) -> float:
        """Returns after how many seconds it may be taken if nobody renews it until then."""
        if self.seen is None or self.other is None:
            return 0.0
        return max(0.0, self._seen_at + self.seen.duration - self._clock())

    async def hold(self) -> bool:
        """Takes or renews it; returns whether it is held. Raises errors of `errors.py`."""
        asked = self._clock()
        if self.seen is None or self.seen.holder != self.holder:
            await self.look()
            if self.frees_in() > 0:
                return False
        try:
            await self._write(self.holder, self.terms.duration)
        except (AlreadyExists, Conflict, NotFound):
            # Somebody else, an answer to us that was lost, or one that was deleted.
            await self.look()
            return False
        self._held_until = asked + self.terms.deadline
        return True

    async def release(self) -> None:
        """Gives it up at once, so that nobody has to wait. Raises errors of `errors.py`."""
        self._held_until = 0.0
        if self.seen is None or self.seen.holder != self.holder:
            return
        try:
            await self._write("", 1)
        except Conflict:  # with a renewal whose answer did not come any more
            if (now := await self.look()) and now.holder == self.holder:
                await self._write("", 1)

    async def _write(self, holder: str, duration: int) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = self.seen
        same = before is not None and before.holder == holder
        metadata: dict[str, Any] = {"name": self.name, "namespace": self.namespace}
        spec: dict[str, Any] = {
            "holderIdentity": holder or None,
            "leaseDurationSeconds": duration,
            "acquireTime": before.acquired if before and same and before.acquired else now,
            "renewTime": now,
            "leaseTransitions": 0 if before is None else before.transitions + (not same),
        }
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
        if before is None:
            self.seen = await self._cluster.create_lease(self.namespace, body)
        else:
            metadata["resourceVersion"] = before.resource_version
            self.seen = await self._cluster.replace_lease(self.namespace, self.name, body)
        self._seen_at = self._clock()
