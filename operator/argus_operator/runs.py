"""Runs, as their watch and the answers to our own writes showed them last.

A look begins from here and costs no request. The higher resourceVersion wins, so events may come
late, twice or in any order. An old picture does no harm:

* a status is written with the resourceVersion of the picture: it is refused if that is old;
* the first Job of a run has a name that follows from the run: there is no second one of it, and one
  that is made for a run that is gone goes with its owner;
* any other act is done only after the API server has confirmed the picture (`Observer.confirm`);
* a look that failed in any way forgets its picture, and so does a replica that begins to lead,
  because another one wrote until then: the next look asks the API server;
* what no event told is found by the listing of `resync`.

Of a run that has ended its name and version are kept, no document: it is decided no more.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from argus_operator.views import JobView, Key, RunView

MAX_TOMBSTONES = 4096


class Change(Enum):
    """What a document tells beyond the one that was known."""

    NOTHING = auto()
    STATUS = auto()
    """Only the status is another: the operator is its only writer, and knows it."""
    WISH = auto()
    """There is a new run, or somebody wants something else of it."""


@dataclass(slots=True)
class _Known:
    uid: str
    version: int
    wish: tuple[object, ...]
    has_ended: bool
    is_told: bool
    """Its status speaks of this generation."""
    is_kept: bool
    """It has ended, and its children stay for good."""
    document: RunView | None


class Runs:
    """The cache; the owner of every rule about which document of a run is newer."""

    def __init__(self) -> None:
        self._known: dict[Key, _Known] = {}
        self._live: set[Key] = set()
        self._deleted: OrderedDict[Key, int] = OrderedDict()
        """Version of the last document of each run that was deleted."""

    def put(self, run: RunView) -> Change:
        """Takes a document unless a newer one is known."""
        version, before = int(run.resource_version), self._known.get(run.key)
        if version <= self._deleted.get(run.key, 0):
            return Change.NOTHING
        if before and version <= before.version:
            if version == before.version and before.document is None and not before.has_ended:
                before.document = run
            return Change.NOTHING
        has_ended = run.status.has_ended
        (self._live.discard if has_ended or run.deleting else self._live.add)(run.key)
        wish = (run.uid, run.generation, run.deleting, dict(run.labels))
        self._known[run.key] = _Known(
            uid=run.uid,
            version=version,
            wish=wish,
            has_ended=has_ended,
            is_told=run.is_told,
            is_kept=has_ended
            and not (run.spec and run.spec.ttl_seconds_after_finished is not None),
            document=None if has_ended else run,
        )
        is_known = before and before.wish == wish and before.has_ended <= has_ended
        return Change.STATUS if is_known else Change.WISH

    def get(self, key: Key) -> RunView | None:
        """Returns the newest document; None: the API server must be asked."""
        known = self._known.get(key)
        return known.document if known else None

    def keys(self) -> tuple[Key, ...]:
        """Returns all that are known."""
        return tuple(self._known)

    @property
    def num_live(self) -> int:
        """Runs that have not ended."""
        return len(self._live)

    def is_newer(self, key: Key, version: int) -> bool:
        """Says whether a document of this version would be taken."""
        known = self._known.get(key)
        newest = max(known.version if known else 0, self._deleted.get(key, 0))
        return version > newest

    def is_settled(self, key: Key, jobs: Iterable[JobView]) -> bool:
        """Says whether the run has ended and nothing of it is left to tidy up."""
        known = self._known.get(key)
        if known is None or not (known.has_ended and known.is_told):
            return False
        standing = (job for job in jobs if job.owner_uid == known.uid and not job.deleting)
        return not any(job.end is None or not known.is_kept for job in standing)

    def forget(self, key: Key) -> None:
        """The next look asks the API server."""
        if known := self._known.get(key):
            known.document = None

    def forget_all(self) -> None:
        for known in self._known.values():
            known.document = None

    def drop(self, key: Key, version: int | None = None) -> None:
        """Forgets a run that is gone; `version`: of its last document, None: unknown."""
        known = self._known.get(key)
        if version is None:
            version = known.version if known else 0
        if known and known.version <= version:
            del self._known[key]
            self._live.discard(key)
        self._deleted[key] = max(version, self._deleted.pop(key, 0))
        while len(self._deleted) > MAX_TOMBSTONES:
            self._deleted.popitem(last=False)

    def absent_from(self, listed: set[Key], version: int, namespace: str | None) -> list[Key]:
        """Returns the runs that stood before a list of this version was made and are not in it."""
        return [
            key
            for key, known in self._known.items()
            if key not in listed and known.version <= version and namespace in (None, key.namespace)
        ]
