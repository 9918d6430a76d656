"""What the warning events of a cluster say of Jobs and pods that do not start.

The API server keeps no index of events: for those about one object it reads all of a namespace. A
thousand waiting runs that asked one by one would keep it from starting them. So one list serves all
runs of a namespace, for ten seconds, and for longer where it took long. It is a courtesy: where
it fails a run is followed all the same, with what the last one said.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.errors import OperatorError, Refused
from argus_operator.reading import Raw, read_time
from argus_operator.views import Hindrance

GOOD_FOR_SECONDS = 10.0
KEPT_FOR_SECONDS = 60.0
"""For which a list that is not good any more is kept: the next one may fail."""
SHARE = 1 / 20
"""At most this part of the time a list of a namespace is being read."""

_log = structlog.get_logger()


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
    def __init__(
        self,
        cluster: Cluster,
        children: Children,
        waiting: Callable[[], AbstractAsyncContextManager[None]],
        clock: Callable[[], float],
    ) -> None:
        """`waiting` is entered while a list is read; `clock`: monotonic seconds."""
        self._cluster = cluster
        self._children = children
        self._waiting = waiting
        self._clock = clock
        self._lists: dict[str, asyncio.Task[_Listed]] = {}
        """The last of each namespace. Who asks while it is read waits for the same one."""

    async def of(self, namespace: str, uid: str, since: datetime) -> tuple[Hindrance, ...]:
        """Returns what was said of this object since then, the newest first."""
        reading = self._lists.get(namespace)
        if reading is None or not self._is_good(reading):
            last = _Listed() if reading is None or _has_failed(reading) else reading.result()
            self._lists = {
                name: task
                for name, task in self._lists.items()
                if self._is_good(task, KEPT_FOR_SECONDS)
            }
            reading = self._lists[namespace] = asyncio.create_task(self._read(namespace, last))
        if not reading.done():
            async with self._waiting():
                # One who gives up must not take it from the others.
                await asyncio.shield(reading)
        listed = reading.result()
        found = [event for event in listed.by_uid.get(uid, ()) if event.at >= since]
        found.sort(key=lambda event: event.at, reverse=True)
        return tuple(event.hindrance for event in found)

    def _is_good(self, reading: asyncio.Task[_Listed], longer: float = 0.0) -> bool:
        if not reading.done():
            return True
        return not _has_failed(reading) and self._clock() < reading.result().good_until + longer

    async def _read(self, namespace: str, last: _Listed) -> _Listed:
        begun = self._clock()
        ours = self._children.uids(namespace)
        by_uid: Mapping[str, Sequence[WarningEvent]] = last.by_uid
        try:
            by_uid = _by_uid(
                await self._cluster.list_warnings(namespace, lambda raw: read_warning(raw, ours))
            )
        except Refused:  # no right to read them
            by_uid = {}
        except OperatorError as error:
            _log.warning("warnings not listed", namespace=namespace, error=str(error))
        now = self._clock()
        return _Listed(by_uid, now + max(GOOD_FOR_SECONDS, (now - begun) / SHARE))


def _has_failed(reading: asyncio.Task[_Listed]) -> bool:
    return reading.cancelled() or reading.exception() is not None


def _by_uid(events: Sequence[WarningEvent]) -> Mapping[str, Sequence[WarningEvent]]:
    found: defaultdict[str, list[WarningEvent]] = defaultdict(list)
    for event in events:
        found[event.uid].append(event)
    return found


def read_warning(raw: Raw, uids: frozenset[str]) -> WarningEvent | None:
    """Reads an event of events.k8s.io/v1.

    None if it is about none of these objects, or of a time that is none: whoever may write events
    must not keep others from theirs.
    """
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
    try:
        at = max(time for text in texts if (time := read_time(text)))
    except (ValueError, OverflowError):  # years that Python does not have
        return None
    return WarningEvent(
        uid=uid,
        at=at,
        hindrance=Hindrance(reason=raw.get("reason") or "Unknown", message=raw.get("note") or ""),
    )
