"""Jobs and pods of all runs, as the watches showed them last.

Reads for a decision come from here and cost no request. Two sources feed it, the watch
events and the regular listing; the higher resourceVersion wins (they are ordered
numbers since Kubernetes 1.35), and what was seen deleted does not come back from an
older list. A pod that is gone keeps its last picture for a while: how a trainer ended
must not be lost because its pod was deleted quickly.
"""

from collections import OrderedDict
from dataclasses import replace
from typing import Generic, TypeVar

from argus_operator.views import JobView, Key, Listed, PodView

Child = TypeVar("Child", JobView, PodView)

MAX_TOMBSTONES = 4096
MAX_GONE_PODS = 4096


class _Kind(Generic[Child]):
    def __init__(self) -> None:
        self.by_run: dict[Key, dict[str, Child]] = {}
        """uid -> newest view, by run."""
        self._deleted: OrderedDict[str, int] = OrderedDict()
        """Version of the last picture of each that was told as deleted: a watch with a selector
        says so too of one that lost its label, and may get it back."""

    def put(self, child: Child) -> bool:
        """Takes a picture unless a newer one is known. Returns whether it was new."""
        if child.resource_version <= self._deleted.get(child.uid, -1):
            return False
        known = self.by_run.setdefault(child.key, {})
        before = known.get(child.uid)
        if before and before.resource_version >= child.resource_version:
            return False
        known[child.uid] = child
        return True

    def drop(self, child: Child) -> None:
        self._deleted[child.uid] = child.resource_version
        while len(self._deleted) > MAX_TOMBSTONES:
            self._deleted.popitem(last=False)
        known = self.by_run.get(child.key, {})
        known.pop(child.uid, None)
        if not known:
            self.by_run.pop(child.key, None)

    def uids(self, namespace: str) -> frozenset[str]:
        return frozenset(
            uid for key, known in self.by_run.items() if key.namespace == namespace for uid in known
        )


class Children:
    """The cache; the owner of every rule about which picture is newer."""

    def __init__(self) -> None:
        self._jobs: _Kind[JobView] = _Kind()
        self._pods: _Kind[PodView] = _Kind()
        self._gone: dict[Key, dict[str, PodView]] = {}
        """Last pictures of deleted pods, by run and uid."""
        self._gone_in_order: OrderedDict[str, Key] = OrderedDict()
        """Their uids, oldest deletion first, and their runs."""

    def find(self, child: JobView | PodView) -> JobView | PodView | None:
        """Returns what is known of this very child."""
        if isinstance(child, JobView):
            return self._jobs.by_run.get(child.key, {}).get(child.uid)
        return self._pods.by_run.get(child.key, {}).get(child.uid)

    def put(self, child: JobView | PodView) -> bool:
        """Returns whether this picture was news."""
        if isinstance(child, JobView):
            return self._jobs.put(child)
        return self._pods.put(child)

    def drop(self, child: JobView | PodView) -> None:
        """Forgets what was deleted, but for the last picture of a pod whose trainer had started."""
        if isinstance(child, JobView):
            self._jobs.drop(child)
            return
        if child.started:
            self._gone.setdefault(child.key, {})[child.uid] = replace(child, gone=True)
            self._gone_in_order[child.uid] = child.key
            while len(self._gone_in_order) > MAX_GONE_PODS:
                uid, key = self._gone_in_order.popitem(last=False)
                del self._gone[key][uid]
                if not self._gone[key]:
                    del self._gone[key]
        self._pods.drop(child)

    def correct(self, listed: Listed, namespace: str | None) -> set[Key]:
        """Takes the whole list of a namespace (None: of all).

        Returns the runs for which it was news.
        """
        news = {child.key for child in listed.children if self.put(child)}
        for child in self._absent_from(listed, namespace):
            self.drop(child)
            news.add(child.key)
        return news

    def _absent_from(self, listed: Listed, namespace: str | None) -> list[JobView | PodView]:
        """Returns what stood here before a list was made, and is not in the list."""
        kind = self._jobs if listed.kind is JobView else self._pods
        # By run as well: somebody may have given it the label of another one.
        found = {(child.key, child.uid) for child in listed.children}
        return [
            child
            for known in kind.by_run.values()
            for child in known.values()
            if (child.key, child.uid) not in found
            and child.resource_version <= listed.version
            and namespace in (None, child.key.namespace)
        ]

    def forget(self, key: Key) -> None:
        """Forgets the last pictures of a run that is gone or has ended."""
        for uid in self._gone.pop(key, {}):
            del self._gone_in_order[uid]

    def uids(self, namespace: str) -> frozenset[str]:
        """Returns those of all Jobs and pods of a namespace."""
        return self._jobs.uids(namespace) | self._pods.uids(namespace)

    def jobs(self, key: Key) -> tuple[JobView, ...]:
        """Returns the Jobs labelled with this run's name: those that plan, then those that train,
        oldest generation first."""
        found = self._jobs.by_run.get(key, {}).values()
        return tuple(sorted(found, key=lambda job: (not job.planning, job.generation, job.created)))

    def pods(self, key: Key) -> tuple[PodView, ...]:
        """Returns the pods labelled with this run's name, oldest first."""
        found = [*self._pods.by_run.get(key, {}).values(), *self._gone.get(key, {}).values()]
        return tuple(sorted(found, key=lambda pod: (pod.created, pod.name)))
