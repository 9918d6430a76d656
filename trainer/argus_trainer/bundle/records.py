"""The append-only list of published bundles: which runs were published, which model is current.

Records are read newest first, and only as far as a question needs; each once. A record that
cannot be read (damaged, or of a newer contract version) is another run's affair: it is passed
over and named, and its number stays taken. Price: to know that a run was never published, every
record is read, 16 at a time.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import structlog

from argus_contract import layout
from argus_contract.digests import wire_bytes
from argus_contract.ledger import PublishedRecord
from argus_trainer.errors import ConfigurationError, DataError, ObjectNotFound
from argus_trainer.storage.records import read
from argus_trainer.storage.store import Store
from argus_trainer.wording import counted

NUM_READS_AT_ONCE = 16

_log = structlog.get_logger(__name__)


def _warn(sentence: str) -> None:
    _log.warning(sentence)


class Records:
    """The records of an output as they stood at the last look."""

    def __init__(self, output: Store) -> None:
        self._output = output
        self._found: dict[int, PublishedRecord | None] = {}
        self._faults: dict[int, str] = {}
        self._numbers: list[int] = []
        self.look()

    def look(self) -> None:
        """Lists them again."""
        keys = (entry.key for entry in self._output.list_objects(layout.PUBLISHED))
        numbers = (layout.published_number(key) for key in keys)
        self._numbers = sorted((n for n in numbers if n is not None), reverse=True)

    @property
    def next_number(self) -> int:
        """The number after all that are taken, by records that cannot be read too."""
        return max(self._numbers, default=0) + 1

    def newest_first(self) -> Iterator[PublishedRecord]:
        """Yields the records that can be read, and reads little more than is taken."""
        done, at_once = 0, 1
        with ThreadPoolExecutor(NUM_READS_AT_ONCE) as threads:
            while done < len(self._numbers):
                part = self._numbers[done : done + at_once]
                yield from (record for record in threads.map(self._read, part) if record)
                done, at_once = done + len(part), min(2 * at_once, NUM_READS_AT_ONCE)

    def of_run(self, run_key: str) -> PublishedRecord | None:
        """Returns the newest record of a run."""
        return next((r for r in self.newest_first() if r.run_key == run_key), None)

    def current(self) -> PublishedRecord | None:
        """Returns the record of the current model."""
        return next((record for record in self.newest_first() if record.current), None)

    def is_certain(self, record: PublishedRecord) -> bool:
        """Whether every record above this one could be read."""
        return all(number < record.number for number in self._faults)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why each record that was passed over so far cannot be read."""
        return tuple(self._faults.values())

    def tell_faults(self, say: Callable[[str], None]) -> None:
        """Says which records were passed over."""
        if self._faults:
            first = next(iter(self._faults.values()))
            say(f"{counted(len(self._faults), 'published record')} passed over: {first}")

    def _read(self, number: int) -> PublishedRecord | None:
        if number not in self._found:
            try:
                self._found[number] = read(self._output, layout.published(number), PublishedRecord)
            except (DataError, ConfigurationError, ObjectNotFound) as error:
                self._found[number], self._faults[number] = None, str(error)
        return self._found[number]


def find_published(
    output: Store, run_key: str, say: Callable[[str], None] = _warn
) -> PublishedRecord | None:
    """Returns the record of a run that was published, or None; `say` hears what is passed over."""
    records = Records(output)
    record = records.of_run(run_key)
    records.tell_faults(say)
    return record


def mend_current(output: Store) -> None:
    """Makes `CURRENT` the copy of the current record, where it is not: whoever published it may
    have died in between, or a slower publisher written an older one over it. It stays as it is
    where a newer record cannot be read."""
    records = Records(output)
    written: PublishedRecord | None = None
    while (current := records.current()) is not None and current != written:
        if not records.is_certain(current):
            return
        wanted = wire_bytes(current)
        try:
            found = output.get(layout.CURRENT)
        except ObjectNotFound:
            found = b""
        if found == wanted:
            return
        output.put(layout.CURRENT, wanted)
        written = current
        records.look()
