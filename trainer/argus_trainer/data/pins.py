"""Which version of an object counts, when it may change under a run."""

from typing import Protocol

from argus_contract.plan import PinnedObject
from argus_trainer.errors import ObjectChanged, ObjectNotFound
from argus_trainer.storage.store import ObjectInfo, Source

MOST_CHANGES = 5
"""Changes of one object between two reads after which the run gives up."""


class Pins(Protocol):
    """Versions that count instead of the plan's (`checkpoints.repins`)."""

    @property
    def reason(self) -> str | None:
        """Why the run is not exact, or None while every object is the plan's."""
        ...

    def newest(self, pinned: PinnedObject) -> PinnedObject:
        """Returns the entry as it counts now."""
        ...

    def record(self, pinned: PinnedObject, found: ObjectInfo) -> None:
        """Makes `found` count from now on, for this attempt and every later one."""
        ...


def look(source: Source, pinned: PinnedObject) -> ObjectInfo:
    """Returns the object as it is now. Raises ObjectNotFound when it is gone."""
    for info in source.list_objects(pinned.key):
        if info.key == pinned.key:
            return info
    raise ObjectNotFound(gone(source, pinned))


def gone(source: Source, pinned: PinnedObject) -> str:
    return (
        f"{source.uri}/{pinned.key} was deleted under the run: restore it, or start a new run "
        "with another runToken"
    )


def changing(source: Source, pinned: PinnedObject) -> ObjectChanged:
    """Returns the error for an object that never stands still."""
    return ObjectChanged(
        f"{source.uri}/{pinned.key} changed {MOST_CHANGES} times while it was read: "
        "start again when its writer is done"
    )
