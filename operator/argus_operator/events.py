"""Tells news as Kubernetes events, seen in `kubectl describe`.

An event's name is derived from what it says, so the same news is one event with a
count, which begins anew after a restart. Events are a courtesy: one that cannot be written
is logged and forgotten, and never delays a run.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from argus_contract import names
from argus_operator.cluster import Cluster
from argus_operator.decision import News
from argus_operator.errors import AlreadyExists, NotFound, OperatorError
from argus_operator.views import RunView

MAX_REMEMBERED = 2048
MAX_NOTE = 1024
"""Longest note of an event, in bytes."""

_log = structlog.get_logger()


class EventWriter:
    def __init__(self, cluster: Cluster, clock: Callable[[], datetime], instance: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._instance = instance
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def tell(self, run: RunView, news: News) -> None:
        name = _name(run, news)
        try:
            count = await self._write(run, news, name, self._counts.get(name, 0) + 1)
        except OperatorError as error:
            _log.warning("event not written", run=str(run.key), error=str(error))
            return
        self._counts[name] = count
        self._counts.move_to_end(name)
        while len(self._counts) > MAX_REMEMBERED:
            self._counts.popitem(last=False)

    async def _write(self, run: RunView, news: News, name: str, count: int) -> int:
        """Returns the count that the event has now."""
        namespace = run.key.namespace
        if count > 1:
            try:
                await self._cluster.patch_event(namespace, name, self._again(count))
            except NotFound:  # the API server keeps an event for an hour
                count = 1
        if count == 1:
            try:
                await self._cluster.create_event(namespace, self._event(run, news))
            except AlreadyExists:  # told by an operator before this one
                count = 2
                await self._cluster.patch_event(namespace, name, self._again(count))
        return count

    def _event(self, run: RunView, news: News) -> Mapping[str, Any]:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": _name(run, news), "namespace": run.key.namespace},
            "eventTime": self._now(),
            "reportingController": f"{names.GROUP}/{names.FIELD_MANAGER}",
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "type": "Warning" if news.warning else "Normal",
            "reason": news.reason[:128],
            "note": news.message.encode()[:MAX_NOTE].decode(errors="ignore"),
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "namespace": run.key.namespace,
                "name": run.key.name,
                "uid": run.uid,
            },
        }

    def _again(self, count: int) -> Mapping[str, Any]:
        return {"series": {"count": count, "lastObservedTime": self._now()}}

    def _now(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _name(run: RunView, news: News) -> str:
    said = hashlib.sha256(f"{run.uid}/{news.reason}/{news.message}".encode()).hexdigest()
    return f"{run.key.name}.{said[:16]}"
