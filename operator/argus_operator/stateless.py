"""kopf's storages and memories, told to remember nothing.

kopf builds and clears what it would remember at every event, also where only `on.event` is
served: with its own storages that copies each object several times, which was a third of the
operator's processor time. Its memory of an object is a KiB, and thousands of finished runs,
Jobs and pods stand in a cluster.
"""

from typing import Any, cast

from kopf import BodyEssence, DiffBaseStorage, ProgressStorage

# kopf takes such a container as an argument, and exports no name for it.
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

_NOTHING = cast(BodyEssence, {})


class NoDiffBase(DiffBaseStorage):
    """No object differs from what it was."""

    def build(self, **_: Any) -> BodyEssence:
        return _NOTHING

    def fetch(self, **_: Any) -> BodyEssence:
        return _NOTHING

    def store(self, **_: Any) -> None:
        return None


class NoProgress(ProgressStorage):
    """No handler has begun anything."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: BodyEssence) -> BodyEssence:
        return essence


class NoMemories(ResourceMemories):
    """What kopf knows of an object ends with the event."""

    async def recall(self, *arguments: Any, **options: Any) -> ResourceMemory:
        return await super().recall(*arguments, **{**options, "ephemeral": True})
