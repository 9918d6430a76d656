"""Records of a plan's objects, in their order: kept ones, or made from the object itself.

Many objects are on their way at once and two are decoded at a time, but records come in the
order of the plan, so that what is merged from them is the same to the bit however they came.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from argus_contract.plan import PinnedObject
from argus_trainer.data.cadence import cadence_of
from argus_trainer.data.decode import ChunkFile, Columns
from argus_trainer.data.fetch import Content, Fetcher
from argus_trainer.data.record import ObjectRecord, RecordForm, record_of
from argus_trainer.data.record_cache import RecordCache
from argus_trainer.data.record_pack import Origin
from argus_trainer.data.rules import Rules
from argus_trainer.data.schema import measured_inputs
from argus_trainer.data.windows import object_steps
from argus_trainer.errors import DataError

NUM_DECODERS = 2
"""Objects that are decoded at once: more would hold more rows and gain nothing."""

Made = tuple[Origin | None, ObjectRecord]


class Survey:
    """One pass over the objects of a plan."""

    def __init__(
        self,
        fetcher: Fetcher,
        objects: Sequence[PinnedObject],
        targets: tuple[str, ...],
        rules: Rules,
        cache: RecordCache,
        *,
        check: Callable[[], None],
    ) -> None:
        """Finds out from the first object how records are made. Raises what `records` raises."""
        self._fetcher, self._objects, self._targets = fetcher, objects, targets
        self._rules, self._cache, self._check = rules, cache, check
        cache.look(objects)
        self._first: Made | None = None
        origin = cache.origin(objects[0])
        if origin is None:
            origin, self._first = self._begun(objects[0])
        self.form = self._form_of(origin)

    def records(self) -> Iterator[ObjectRecord]:
        """Yields the record of each object. `check` is called while it waits, and may raise.

        Raises DataError for an object that changed or cannot be read as the first one was.
        """
        form, cache = self.form, self._cache
        missing = [
            pinned
            for index, pinned in enumerate(self._objects)
            if not cache.has(pinned, form) and not (index == 0 and self._first)
        ]
        waiting = set(missing)
        with ThreadPoolExecutor(NUM_DECODERS, thread_name_prefix="argus-decode") as pool:
            contents = self._fetcher.ordered(missing, check=self._check)
            making: deque[Future[Made]] = deque()
            for pinned in self._objects:
                made = self._first if pinned is self._objects[0] else None
                if pinned in waiting:
                    while len(making) < NUM_DECODERS and (content := next(contents, None)):
                        making.append(pool.submit(self._made, *content))
                        del content
                    made = making.popleft().result()
                record = made[1] if made else cache.get(pinned, form)
                if record is None:
                    # Its pack turned out to be damaged.
                    made = self._made(pinned, self._fetcher.fetch(pinned))
                    record = made[1]
                if made:
                    cache.add(pinned, *made, form)
                self._check()
                yield record
        cache.write(form)

    def _begun(self, pinned: PinnedObject) -> tuple[Origin, Made]:
        file = self._file(pinned, self._fetcher.fetch(pinned))
        present = file.present()
        features = measured_inputs(present.numeric, self._targets, self._rules.metrics)
        columns = file.columns(
            features + self._targets, status=present.has_status, profile=present.has_profile
        )
        origin = Origin(
            cadence_seconds=self._rules.cadence_seconds or cadence_of(columns, file.name),
            features=features,
            has_status=present.has_status,
            has_profile=present.has_profile,
        )
        return origin, (origin, self._record(pinned, columns, self._form_of(origin)))

    def _made(self, pinned: PinnedObject, content: Content) -> Made:
        file, form = self._file(pinned, content), self.form
        columns = file.columns(form.metrics, status=form.has_status, profile=form.has_profile)
        return self._origin(file, columns), self._record(pinned, columns, form)

    def _origin(self, file: ChunkFile, columns: Columns) -> Origin | None:
        """Returns what a later run that begins with this object has to know; None: read it."""
        try:
            present = file.present()
            return Origin(
                cadence_seconds=self._rules.cadence_seconds or cadence_of(columns, file.name),
                features=measured_inputs(present.numeric, self._targets, self._rules.metrics),
                has_status=present.has_status,
                has_profile=present.has_profile,
            )
        except DataError:
            return None

    def _record(self, pinned: PinnedObject, columns: Columns, form: RecordForm) -> ObjectRecord:
        return record_of(columns, object_steps(pinned, form.cadence_seconds), form)

    def _form_of(self, origin: Origin) -> RecordForm:
        return RecordForm(
            cadence_seconds=origin.cadence_seconds,
            features=origin.features,
            targets=self._targets,
            has_status=origin.has_status,
            has_profile=origin.has_profile,
        )

    def _file(self, pinned: PinnedObject, content: Content) -> ChunkFile:
        return ChunkFile(f"{self._fetcher.source.uri}/{pinned.key}", content, self._rules)
