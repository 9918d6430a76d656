"""Objects that changed after the plan: `data.onChange: Repin`.

The plan is never overwritten. What an object became is appended to `repins/` of the run, with
If-None-Match, before it is used: this attempt and every later one then read the same version,
and whoever looks into the bucket can tell which.

What rests on the plan stays: the split, the scalers and vocabulary, the number of windows of
each block, and with it the order of places in every epoch. A block that enumerates other
windows than its statistics say fills its places with those that it has (`BlockReader`): each
about equally often. A block without one window left ends the run with 65. A large object that
is replaced while it is being read ends the attempt's read with 65 as well: it has no whole
version to take. The run is marked: `inexactReason` in `final.json`, `exact_resume` false in
`training_info.json`.
"""

import threading
from collections.abc import Callable

from argus_contract import layout
from argus_contract.ledger import Repin
from argus_contract.plan import PinnedObject
from argus_trainer.errors import ObjectExists
from argus_trainer.storage.records import read, write_new
from argus_trainer.storage.store import ObjectInfo, Store


class Repins:
    """Versions of objects that count instead of the plan's. Safe to use from several threads."""

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        """Reads what earlier attempts recorded. `say` tells of each new one."""
        self._store, self._say = store, say
        self._lock = threading.Lock()
        self._records: list[Repin] = []
        self._of_key: dict[str, Repin] = {}
        self._catch_up()

    @property
    def reason(self) -> str | None:
        """Why the run is not exact, or None when nothing changed yet."""
        with self._lock:
            if not self._records:
                return None
            others = len(self._of_key) - 1
            return (
                f"{self._records[0].key}{f' and {others} more' if others else ''} changed after "
                "the plan was made and data.onChange is Repin"
            )

    def newest(self, pinned: PinnedObject) -> PinnedObject:
        """Returns the entry as it counts now."""
        record = self._of_key.get(pinned.key)
        if record is None:
            return pinned
        return pinned.model_copy(update={"etag": record.etag, "size": record.size})

    def record(self, pinned: PinnedObject, found: ObjectInfo) -> None:
        """Makes `found` the version of the object from now on, unless another thread did.

        Raises StorageError when that cannot be written: then it does not count either.
        """
        with self._lock:
            while True:
                known = self._of_key.get(found.key)
                if known is not None and known.etag == found.etag:
                    return
                repin = Repin(
                    number=len(self._records) + 1,
                    key=found.key,
                    was=known.etag if known else pinned.etag,
                    etag=found.etag,
                    size=found.size,
                )
                try:
                    write_new(self._store, layout.repin(repin.number), repin)
                except ObjectExists:
                    self._catch_up()  # a zombie of this run was faster
                    continue
                self._add(repin)
                self._say(
                    f"[DATA] {found.key} changed after the plan was made; it is taken as it is "
                    f"now ({found.size} bytes, ETag {found.etag}): this run is not exact"
                )
                return

    def _catch_up(self) -> None:
        numbers = [layout.repin_number(e.key) for e in self._store.list_objects(layout.REPINS)]
        for number in sorted(n for n in numbers if n is not None and n > len(self._records)):
            self._add(read(self._store, layout.repin(number), Repin))

    def _add(self, repin: Repin) -> None:
        self._records.append(repin)
        self._of_key[repin.key] = repin
