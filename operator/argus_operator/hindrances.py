"""What the warning events of a cluster say of Jobs and pods that do not start.

The API server keeps no index of events: for those about one object it reads all of a namespace. A
thousand waiting runs that asked one by one would keep it from starting them. So one list serves all
runs of a namespace, for ten seconds, and for longer where it took long.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.errors import Refused
from argus_operator.views import Hindrance, Raw, read_time

GOOD_FOR_SECONDS = 10.0
SHARE = 1 / 20
"""At most this part of the time a list of a namespace is being read."""


@dataclass(frozen=True)
class WarningEvent:
    """One about a Job or a pod of ours."""

    uid: str
    at: datetime
    hindrance: Hindrance


@dataclass(frozen=True)
class _Listed:
    by_uid: Mapping[str, Sequence[WarningEvent]] = field(default_factory=dict)
    good_until: float = 0.0


class Hindrances:
    def __init__(self, cluster: Cluster, children: Children, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self._cluster = cluster
        self._children = children
        self._clock = clock
        self._lists: dict[str, asyncio.Task[_Listed]] = {}
        """The last of each namespace. Who asks while it is read waits for the same one."""

    async def of(self, namespace: str, uid: str, since: datetime) -> tuple[Hindrance, ...]:
        """Returns what was said of this object since then, the newest first.

        Nothing where there is no right to read events: the run is followed without them. Raises
        the other errors of `Cluster`.
        """
        reading = self._lists.get(namespace)
        if reading is None or not self._serves(reading):
            self._lists = {name: task for name, task in self._lists.items() if self._serves(task)}
            reading = self._lists[namespace] = asyncio.create_task(self._read(namespace))
        # One who gives up must not take it from the others.
        listed = await asyncio.shield(reading)
        found = [event for event in listed.by_uid.get(uid, ()) if event.at >= since]
        found.sort(key=lambda event: event.at, reverse=True)
        return tuple(event.hindrance for event in found)

    def _serves(self, reading: asyncio.Task[_Listed]) -> bool:
        if not reading.done():
            return True
        failed = reading.cancelled() or reading.exception()
        return not failed and self._clock() < reading.result().good_until

    async def _read(self, namespace: str) -> _Listed:
        begun = self._clock()
        ours = self._children.uids(namespace)
        by_uid: defaultdict[str, list[WarningEvent]] = defaultdict(list)
        try:
            for event in await self._cluster.list_warnings(
                namespace, lambda raw: read_warning(raw, ours)
            ):
                by_uid[event.uid].append(event)
        except Refused:
            by_uid.clear()
        now = self._clock()
        return _Listed(by_uid, now + max(GOOD_FOR_SECONDS, (now - begun) / SHARE))


def read_warning(raw: Raw, uids: frozenset[str]) -> WarningEvent | None:
    """Reads an event of events.k8s.io/v1; None if it is about none of these objects."""
    uid = (raw.get("regarding") or {}).get("uid")
    if uid not in uids:
        return None
    series = raw.get("series") or {}
    texts = (
        series.get("lastObservedTime"),
        raw.get("deprecatedLastTimestamp"),
        raw.get("eventTime"),
        raw["metadata"].get("creationTimestamp"),
    )
    return WarningEvent(
        uid=uid,
        at=max(time for text in texts if (time := read_time(text))),
        hindrance=Hindrance(reason=raw.get("reason") or "Unknown", message=raw.get("note") or ""),
    )
