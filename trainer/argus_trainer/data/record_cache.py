"""Records of objects that were read before, under the checkpoint prefix, shared by runs.

A weekly retrain reads only the objects that are new. It is an optimisation: what is missing,
damaged or of another form is computed again from the object. A pack is written whole before
its index, so an index that stands names records that stand.
"""

import hashlib
import json
from collections.abc import Callable, Sequence

from argus_contract import layout
from argus_contract.digests import wire_bytes
from argus_contract.launch import LaunchData
from argus_contract.names import CONTRACT_VERSION
from argus_contract.plan import PinnedObject
from argus_contract.spec import ModelSpec
from argus_trainer.data.memory import RECORD_BYTES
from argus_trainer.data.record import RECORD_VERSION, ObjectRecord, RecordForm
from argus_trainer.data.record_pack import (
    DamagedPackError,
    Origin,
    PackIndex,
    num_bytes,
    object_id,
    packed,
    unpacked,
)
from argus_trainer.errors import (
    ConfigurationError,
    DataError,
    ObjectExists,
    ObjectNotFound,
    StorageDenied,
)
from argus_trainer.storage.records import parse
from argus_trainer.storage.store import Store

MOST_RECORDS = 256
"""In a pack: ten thousand tiny objects are forty packs."""
Place = tuple[layout.RecordPack, int]
"""A pack and the number of a record in it."""


class RecordCache:
    """The records of one dataset read in one way. Used by one thread, in the order of a plan."""

    def __init__(
        self,
        store: Store,
        data: LaunchData,
        model: ModelSpec,
        *,
        say: Callable[[str], None],
        most_bytes: int = RECORD_BYTES,
    ) -> None:
        """`store` is that of `checkpoint.uri`; `say` hears of packs that are of no use.

        At most `most_bytes` wait to be written, but for the last record.
        """
        self._most_bytes = most_bytes
        self._store, self._say = store, say
        self._scope = scope_of(data, model)
        self._usable = True
        self._indexes: dict[layout.RecordPack, PackIndex] = {}
        self._places: dict[str, list[Place]] = {}
        """By object: where its records are."""
        self._loaded: dict[layout.RecordPack, list[ObjectRecord]] = {}
        self._pending: list[tuple[PinnedObject, Origin | None, ObjectRecord]] = []
        self._pending_bytes = 0

    def look(self, objects: Sequence[PinnedObject]) -> None:
        """Reads what is there for the time of these objects (one listing, and each index)."""
        start, end = objects[0].start, max(pinned.end for pinned in objects)
        try:
            for info in self._store.list_objects(f"{layout.RECORDS}{self._scope}/"):
                pack = layout.RecordPack.from_index(info.key)
                if pack and pack.start < end and pack.end > start:
                    self._read_index(pack)
        except StorageDenied as error:
            self._give_up(error)

    def origin(self, pinned: PinnedObject) -> Origin | None:
        """Returns what the object says about a run that begins with it, if it is known."""
        for pack, number in self._places.get(object_id(pinned), ()):
            if origin := self._indexes[pack].entries[number].origin:
                return origin
        return None

    def has(self, pinned: PinnedObject, form: RecordForm) -> bool:
        return self._place(pinned, form) is not None

    def get(self, pinned: PinnedObject, form: RecordForm) -> ObjectRecord | None:
        """Returns a record; None also when it turns out to be damaged."""
        place = self._place(pinned, form)
        if place is None:
            return None
        pack, number = place
        for passed in [other for other in self._loaded if other.end <= pinned.start]:
            del self._loaded[passed]
        if pack not in self._loaded:
            try:
                self._loaded[pack] = unpacked(self._indexes[pack], self._store.get(pack.tensors))
            except (DamagedPackError, ObjectNotFound) as error:
                self._forget(pack, str(error))
                return None
        return self._loaded[pack][number]

    def add(
        self, pinned: PinnedObject, origin: Origin | None, record: ObjectRecord, form: RecordForm
    ) -> None:
        """Keeps a record for later runs; writes a pack when it is full."""
        self._pending.append((pinned, origin, record))
        self._pending_bytes += num_bytes(record)
        if len(self._pending) >= MOST_RECORDS or self._pending_bytes >= self._most_bytes:
            self.write(form)

    def write(self, form: RecordForm) -> None:
        """Writes what was added since the last pack."""
        records, self._pending, self._pending_bytes = self._pending, [], 0
        if not records or not self._usable:
            return
        index, tensors = packed(form, records)
        content = wire_bytes(index)
        pack = layout.RecordPack(
            scope=self._scope,
            start=min(pinned.start for pinned, _, _ in records),
            end=max(pinned.end for pinned, _, _ in records),
            digest=hashlib.sha256(content).hexdigest()[:16],
        )
        try:
            self._store.put_new(pack.tensors, tensors)
            self._store.put_new(pack.index, content)
        except (ObjectExists, StorageDenied) as error:
            self._give_up(error)

    def _place(self, pinned: PinnedObject, form: RecordForm) -> Place | None:
        for pack, number in self._places.get(object_id(pinned), ()):
            if self._indexes[pack].is_of(form):
                return pack, number
        return None

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        self._say(f"[DATA] Statistics of objects are not kept for later runs: {error}")

    def _read_index(self, pack: layout.RecordPack) -> None:
        try:
            content = self._store.get(pack.index)
            index = parse(content, f"{self._store.uri}/{pack.index}", PackIndex)
        except (DataError, ConfigurationError, ObjectNotFound) as error:
            self._forget(pack, str(error))
            return
        self._indexes[pack] = index
        for number, entry in enumerate(index.entries):
            self._places.setdefault(entry.object, []).append((pack, number))

    def _forget(self, pack: layout.RecordPack, why: str) -> None:
        """Leaves a damaged pack out and makes room for a new one of the same name."""
        self._say(f"[DATA] {self._store.uri}/{pack.index} is of no use and computed again: {why}")
        index = self._indexes.pop(pack, None)
        for entry in index.entries if index else ():
            places = self._places[entry.object]
            places[:] = [place for place in places if place[0] != pack]
        try:
            self._store.delete([pack.index, pack.tensors])
        except StorageDenied as error:
            # A new pack of that name could not be written either.
            self._give_up(error)


def scope_of(data: LaunchData, model: ModelSpec) -> str:
    """Returns the digest of all that a record depends on and that no object tells."""
    read = data.model_dump(mode="json", include={"uri", "cadence_seconds", "columns", "servers"})
    targets = [target.name for target in model.targets]
    document = json.dumps([CONTRACT_VERSION, RECORD_VERSION, read, targets], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:32]
