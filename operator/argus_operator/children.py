"""Jobs and pods of all runs, as the watches showed them last.

Reads for a decision come from here and cost no request. Two sources feed it, the watch
events and the regular listing; the higher resourceVersion wins (they are ordered
numbers since Kubernetes 1.35), and what was seen deleted does not come back from an
older list. A pod that is gone keeps its last picture for a while: how a trainer ended
must not be lost because its pod was deleted quickly.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Generic, TypeVar

from argus_operator.views import JobView, Key, PodView

Child = TypeVar("Child", JobView, PodView)

MAX_TOMBSTONES = 4096
MAX_GONE_PODS = 4096


class _Kind(Generic[Child]):
    def __init__(self) -> None:
        self.by_run: dict[Key, dict[str, Child]] = {}
        """uid -> newest view, by run."""
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def put(self, child: Child) -> bool:
        """Takes a picture unless a newer one is known. Returns whether it was new."""
        if child.uid in self._deleted:
            return False
        known = self.by_run.setdefault(child.key, {})
        before = known.get(child.uid)
        if before and before.resource_version >= child.resource_version:
            return False
        known[child.uid] = child
        return True

    def drop(self, child: Child) -> None:
        self._deleted[child.uid] = None
        while len(self._deleted) > MAX_TOMBSTONES:
            self._deleted.popitem(last=False)
        known = self.by_run.get(child.key, {})
        known.pop(child.uid, None)
        if not known:
            self.by_run.pop(child.key, None)

    def correct(
        self,
        listed: Iterable[Child],
        version: int,
        namespace: str | None,
        drop: Callable[[Child], None],
    ) -> set[Key]:
        """Takes a whole list made at `version`; `drop` is called for what is not in it any more.

        Returns the runs for which it was news.
        """
        children = list(listed)
        news = {child.key for child in children if self.put(child)}
        for child in self._absent_from({c.uid for c in children}, version, namespace):
            drop(child)
            news.add(child.key)
        return news

    def _absent_from(self, listed: set[str], version: int, namespace: str | None) -> list[Child]:
        """Returns what stood here before a list was made, and is not in the list."""
        return [
            child
            for known in self.by_run.values()
            for child in known.values()
            if child.uid not in listed
            and child.resource_version <= version
            and namespace in (None, child.key.namespace)
        ]


class Children:
    """The cache; the owner of every rule about which picture is newer."""

    def __init__(self) -> None:
        self._jobs: _Kind[JobView] = _Kind()
        self._pods: _Kind[PodView] = _Kind()
        self._gone: OrderedDict[str, PodView] = OrderedDict()
        """Last pictures of deleted pods, by uid, oldest deletion first."""

    def put_job(self, job: JobView) -> bool:
        """Returns whether this picture of the Job was news."""
        return self._jobs.put(job)

    def put_pod(self, pod: PodView) -> bool:
        """Returns whether this picture of the pod was news."""
        return self._pods.put(pod)

    def drop_job(self, job: JobView) -> None:
        self._jobs.drop(job)

    def drop_pod(self, pod: PodView) -> None:
        """Forgets a deleted pod, but for its last picture if its trainer had started."""
        if pod.started:
            self._gone[pod.uid] = replace(pod, gone=True)
            while len(self._gone) > MAX_GONE_PODS:
                self._gone.popitem(last=False)
        self._pods.drop(pod)

    def forget(self, key: Key) -> None:
        """Forgets the last pictures of a run that is gone or has ended."""
        for uid in [uid for uid, pod in self._gone.items() if pod.key == key]:
            del self._gone[uid]

    def jobs(self, key: Key) -> tuple[JobView, ...]:
        """Returns the Jobs labelled with this run's name, oldest generation first."""
        found = self._jobs.by_run.get(key, {}).values()
        return tuple(sorted(found, key=lambda job: (job.generation, job.created)))

    def pods(self, key: Key) -> tuple[PodView, ...]:
        """Returns the pods labelled with this run's name, oldest first."""
        found = [*self._pods.by_run.get(key, {}).values()]
        found += [pod for pod in self._gone.values() if pod.key == key]
        return tuple(sorted(found, key=lambda pod: (pod.created, pod.name)))

    def correct_jobs(
        self, listed: Iterable[JobView], version: int, namespace: str | None
    ) -> set[Key]:
        """Takes the whole list of a namespace (None: of all), made at this version.

        Returns the runs for which it was news.
        """
        return self._jobs.correct(listed, version, namespace, self.drop_job)

    def correct_pods(
        self, listed: Iterable[PodView], version: int, namespace: str | None
    ) -> set[Key]:
        """Does the same with pods: one that is gone leaves its last picture (`drop_pod`)."""
        return self._pods.correct(listed, version, namespace, self.drop_pod)
