"""Records of a plan's objects, in their order: kept ones, or made from the object itself.

Many objects are on their way at once and two are decoded at a time, but records come in the
order of the plan, so that what is merged from them is the same to the bit however they came.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import numpy as np

from argus_contract.plan import PinnedObject
from argus_trainer.data.cadence import cadence_of, check_cadence
from argus_trainer.data.chunk_reader import ChunkReader, Sources
from argus_trainer.data.decode import ChunkFile, Columns
from argus_trainer.data.fetch import LARGE_BYTES, Content, Fetcher
from argus_trainer.data.reasons import WITHOUT, nobody_chosen
from argus_trainer.data.record import ObjectRecord, RecordForm, record_of
from argus_trainer.data.record_pack import Origin
from argus_trainer.data.room import Room
from argus_trainer.data.rules import Rules
from argus_trainer.data.schema import measured_inputs
from argus_trainer.data.windows import object_steps
from argus_trainer.errors import DataError
from argus_trainer.wording import counted

NUM_DECODERS = 2
"""Objects that are decoded at once: more would hold more rows and gain little. Rows that are
gathered onto a grid need those of the object before, so there it is one after another."""

Made = tuple[Origin | None, ObjectRecord]
MOST_OTHERS = 8
"""Names of servers that are not chosen which are remembered, for an error."""


class Kept(Protocol):
    """Records that were made before, by object (`record_cache`)."""

    def look(self, objects: Sequence[PinnedObject]) -> None: ...

    def origin(self, pinned: PinnedObject) -> Origin | None: ...

    def has(self, pinned: PinnedObject, form: RecordForm) -> bool: ...

    def get(self, pinned: PinnedObject, form: RecordForm) -> ObjectRecord | None: ...

    def add(
        self, pinned: PinnedObject, origin: Origin | None, record: ObjectRecord, form: RecordForm
    ) -> None: ...

    def write(self, form: RecordForm) -> None: ...


class Survey:
    """One pass over the objects of a plan."""

    def __init__(
        self,
        fetcher: Fetcher,
        objects: Sequence[PinnedObject],
        targets: tuple[str, ...],
        rules: Rules,
        cache: Kept,
        *,
        decode_bytes: int | None = None,
        check: Callable[[], None],
    ) -> None:
        """Finds out from the first object that has rows how records are made.

        Raises what `records` raises.
        """
        self._fetcher, self._objects, self._targets = fetcher, objects, targets
        self._rules, self._cache, self._check = rules, cache, check
        self._room = Room(decode_bytes)
        # Decoded, an object is many times larger, so this one fills the room.
        self._large = min(LARGE_BYTES, (decode_bytes or 2**62) // 16)
        cache.look(objects)
        # A record is kept under all that it was made of.
        self._sources = Sources(objects, rules)
        self._names = [self._sources.identity(index) for index in range(len(objects))]
        self._at_hand: dict[int, Content] = {}
        self._others: dict[str, None] = {}
        self.form = self._form_of(self._first_origin())
        self._reader = ChunkReader(
            fetcher.source.uri,
            objects,
            rules,
            fetcher.fetch,
            self.form.metrics,
            status=self.form.has_status,
            profile=self.form.has_profile,
        )

    @property
    def others(self) -> tuple[str, ...]:
        """Names of some servers that `data.servers` leaves out, of the objects that were read."""
        return tuple(sorted(self._others))

    def records(self) -> Iterator[ObjectRecord]:
        """Yields the record of each object. `check` is called while it waits, and may raise.

        Raises DataError for an object that changed or cannot be read as the first one was.
        """
        form, cache = self.form, self._cache
        names = self._names
        missing = [index for index, name in enumerate(names) if not cache.has(name, form)]
        waiting = set(missing)
        num_decoders = 1 if self._rules.cadence_seconds else NUM_DECODERS
        with ThreadPoolExecutor(num_decoders, thread_name_prefix="argus-decode") as pool:
            contents = self._contents(missing)
            todo = deque(missing)
            making: deque[Future[Made]] = deque()
            for index, name in enumerate(names):
                made: Made | None = None
                if index in waiting:
                    while todo and len(making) < (1 if self._is_large(todo[0]) else num_decoders):
                        todo.popleft()
                        making.append(pool.submit(self._made, *next(contents)))
                    made = making.popleft().result()
                record = made[1] if made else cache.get(name, form)
                if record is None:
                    # Its pack turned out to be damaged.
                    made = self._made(index, self._fetcher.fetch(self._objects[index]))
                    record = made[1]
                # Of an object that changed nothing is kept: its name is that of the plan's version.
                if made and self._fetcher.inexact_reason is None:
                    cache.add(name, *made, form)
                self._check()
                yield record
        cache.write(form)

    def _is_large(self, index: int) -> bool:
        """Whether the object's rows are too many to stand beside those of the one before it."""
        around = self._objects[max(index - 1, 0) : index + 1]
        return any(pinned.size > self._large for pinned in around)

    def _contents(self, missing: Sequence[int]) -> Iterator[tuple[int, Content]]:
        """Yields these objects by number; the one that was read first is at hand."""
        wanted = [self._objects[index] for index in missing if index not in self._at_hand]
        fetched = self._fetcher.ordered(wanted, check=self._check)
        for index in missing:
            content = self._at_hand.pop(index, None)
            yield index, next(fetched)[1] if content is None else content

    def _first_origin(self) -> Origin:
        """Returns what the first object with rows says; an empty one says nothing."""
        rows = not_chosen = 0
        for index, pinned in enumerate(self._objects):
            if origin := self._cache.origin(self._names[index]):
                return origin
            content = self._fetcher.fetch(pinned)
            file = ChunkFile(f"{self._fetcher.source.uri}/{pinned.key}", content, self._rules)
            columns = None
            if not self._rules.cadence_seconds:
                within = self._sources.within(index)
                with self._room.of(file.decoding_bytes(0, within), file.name):
                    columns = file.columns((), status=False, profile=False, within=within)
                self._note_others(columns)
                rows += len(columns.micros)
                not_chosen += columns.not_chosen
            if origin := self._origin(file, columns):
                self._at_hand[index] = content
                return origin
            self._check()
        uri, num_objects = self._fetcher.source.uri, len({o.key for o in self._objects})
        if not_chosen and not rows:
            raise DataError(f"data.uri {uri}: {nobody_chosen(self._rules.chosen, self.others)}")
        raise DataError(
            f"data.uri {uri}: no server has two rows in one of {counted(num_objects, 'object')} "
            f"({counted(rows, 'row')}), so the cadence is unknown: set data.cadenceSeconds"
        )

    def _note_others(self, columns: Columns) -> None:
        """Remembers names of servers that are not chosen."""
        if columns.not_chosen and len(self._others) < MOST_OTHERS:
            takes_part = self._rules.takes_part
            names = [name for name in columns.servers.values if not takes_part(name)]
            self._others.update(dict.fromkeys(names[:MOST_OTHERS]))

    def _made(self, index: int, content: Content) -> Made:
        form = self.form
        file = self._reader.open(index, content)
        held = len(content) if isinstance(content, bytes | memoryview) else 0
        # What is at hand of its chunk is put together with it.
        held += 2 * self._reader.held_bytes
        need = held + file.decoding_bytes(len(form.metrics), self._sources.within(index))
        with self._room.of(need, file.name):
            return self._made_of(index, file)

    def _made_of(self, index: int, file: ChunkFile) -> Made:
        form = self.form
        columns = self._reader.columns(index, file)
        self._note_others(columns)
        if not self._rules.cadence_seconds:
            check_cadence(columns, file.name, form.cadence_seconds)
        steps = object_steps(self._objects[index], form.cadence_seconds)
        record = record_of(columns, steps, form)
        try:
            origin = self._origin(file, columns)
        except DataError:
            origin = None  # a later run that begins with it reads it and says so
        oddities = dict(record.oddities)
        new = set(origin.features) - set(form.features) if origin else None
        if new:
            oddities["new_metrics"] = len(new)
        if "without_target" in oddities:
            missing = np.isnan(columns.values[:, len(form.features) :]).sum(axis=0)
            names = (f"{WITHOUT}{name}" for name in form.targets)
            oddities |= {name: int(n) for name, n in zip(names, missing, strict=True) if n}
        return origin, replace(record, oddities=oddities)

    def _origin(self, file: ChunkFile, columns: Columns | None = None) -> Origin | None:
        """Returns what a run that begins with this object has to know; None when it cannot tell."""
        present = file.present()
        features = measured_inputs(present.numeric, self._targets, self._rules.metrics)
        cadence: int | None = self._rules.cadence_seconds
        if not cadence:
            columns = columns or file.columns((), status=False, profile=False)
            cadence = cadence_of(columns, file.name)
        if not cadence:
            return None
        return Origin(
            cadence_seconds=cadence,
            features=features,
            has_status=present.has_status,
            has_profile=present.has_profile,
        )

    def _form_of(self, origin: Origin) -> RecordForm:
        return RecordForm(
            cadence_seconds=origin.cadence_seconds,
            features=origin.features,
            targets=self._targets,
            has_status=origin.has_status,
            has_profile=origin.has_profile,
        )
