"""Objects that are read before a run is: all of them where that is quick, else some chunks.

Everything read gives the statistics of the run, by the code that makes them there. Chunks of a
sample are whole, as one object of several does not tell what a step has, and lie at equal
distances. Both go through the run's own survey, so what it refuses is refused here in its words.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from argus_contract.launch import Launch
from argus_contract.plan import PinnedObject, Plan, Statistics
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.reasons import Slower
from argus_trainer.data.record import ObjectRecord, RecordForm
from argus_trainer.data.record_pack import Origin
from argus_trainer.data.rules import Rules
from argus_trainer.data.slower import by_cadence, slow_servers
from argus_trainer.data.statistics import ODDITIES, make_statistics
from argus_trainer.data.survey import Survey
from argus_trainer.data.window_count import Mask
from argus_trainer.data.windows import object_steps

MOST_QUICK = 400
"""Objects that are read as a whole: a month of two-hour chunks, some seconds on any store."""
MOST_SAMPLED = 64
MOST_BYTES = 64 << 20
"""Of what is read, unless one chunk alone is larger."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What some chunks show."""

    read: tuple[PinnedObject, ...]
    """Entries that were fetched."""
    form: RecordForm
    records: Mapping[int, ObjectRecord]
    """By place in the plan: of all entries of each chunk of the sample."""
    others: Sequence[str]
    """Names of some servers that `data.servers` leaves out."""
    slower: Sequence[Slower]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was settled by a rule in the sample alone."""
        total: Counter[str] = Counter()
        for record in self.records.values():
            total.update(record.oddities)
        told = ((total[name], what) for name, what in ODDITIES.items())
        return (
            *(f"{count} {what}, in the sample" for count, what in told if count),
            *(found.told(self.form.cadence_seconds) for found in self.slower),
        )


class NothingKept:
    """In place of records of earlier runs: what is only planned leaves no trace."""

    def look(self, objects: Sequence[PinnedObject]) -> None:
        return None

    def origin(self, pinned: PinnedObject) -> Origin | None:
        return None

    def has(self, pinned: PinnedObject, form: RecordForm) -> bool:
        return False

    def get(self, pinned: PinnedObject, form: RecordForm) -> ObjectRecord | None:
        return None

    def add(
        self, pinned: PinnedObject, origin: Origin | None, record: ObjectRecord, form: RecordForm
    ) -> None:
        return None

    def write(self, form: RecordForm) -> None:
        return None


def is_quick(plan: Plan) -> bool:
    """Returns whether all that statistics are made of may be read to plan a run."""
    objects = plan.objects[: plan.split.validation_end]
    return len(objects) <= MOST_QUICK and num_bytes(objects) <= MOST_BYTES


def whole(
    plan: Plan, launch: Launch, fetcher: Fetcher, *, decode_bytes: int | None = None
) -> Statistics:
    """Returns the statistics of the run. Raises what making them raises."""
    return make_statistics(
        fetcher,
        plan,
        launch.data,
        launch.model,
        launch.training,
        cache=NothingKept(),
        decode_bytes=decode_bytes,
        check=lambda: None,
    )


def sample_of(
    plan: Plan, launch: Launch, fetcher: Fetcher, *, decode_bytes: int | None = None
) -> Sample:
    """Reads a sample of training and validation. Raises what the run's survey raises."""
    rules = Rules.of(launch.data)
    targets = tuple(target.name for target in launch.model.targets)
    chunks = chunks_of_plan(plan)
    chosen = {index for chunk in _chosen(plan, chunks) for index in chunk}
    indices = sorted(chosen | (_before(chunks, chosen) if rules.cadence_seconds else set()))
    objects = [plan.objects[index] for index in indices]
    survey = Survey(
        fetcher,
        objects,
        targets,
        rules,
        NothingKept(),
        decode_bytes=decode_bytes,
        check=lambda: None,
    )
    read = dict(zip(indices, survey.records(), strict=True))
    records = {index: record for index, record in read.items() if index in chosen}
    return Sample(
        read=tuple(objects),
        form=survey.form,
        records=records,
        others=survey.others,
        slower=_slower(plan, records, survey.form.cadence_seconds),
    )


def _slower(
    plan: Plan, records: Mapping[int, ObjectRecord], cadence_seconds: int
) -> tuple[Slower, ...]:
    names = sorted({name for record in records.values() for name in record.servers})
    code_of = {name: code for code, name in enumerate(names)}
    masks = [
        Mask(
            steps=object_steps(plan.objects[index], cadence_seconds),
            codes=np.array([code_of[name] for name in record.servers], dtype=np.int64),
            observed_SB=record.observed_SB,
        )
        for index, record in records.items()
    ]
    keys = [plan.objects[index].key for index in records]
    return by_cadence(slow_servers(masks, cadence_seconds), names, keys)


def chunks_of_plan(plan: Plan) -> list[list[int]]:
    """Returns the places of each chunk's entries, without the holdout, by time."""
    chunks: list[list[int]] = []
    for index, pinned in enumerate(plan.objects[: plan.split.validation_end]):
        if chunks and plan.objects[chunks[-1][0]].start == pinned.start:
            chunks[-1].append(index)
        else:
            chunks.append([index])
    return chunks


def num_bytes(objects: Sequence[PinnedObject]) -> int:
    """Returns what reading these entries fetches; an object counts once for each of its chunks."""
    return sum(pinned.size for pinned in objects)


def spread(count: int, of: int) -> list[int]:
    """Returns `count` numbers below `of` at equal distances, the first and the last included."""
    count = min(count, of)
    if count == 1:
        return [of // 2]
    return [round(place * (of - 1) / (count - 1)) for place in range(count)]


def _chosen(plan: Plan, chunks: list[list[int]]) -> list[list[int]]:
    """Returns as many chunks as may be read; at least one."""
    for count in range(min(MOST_SAMPLED, len(chunks)), 1, -1):
        chosen = [chunks[place] for place in spread(count, len(chunks))]
        objects = [plan.objects[index] for chunk in chosen for index in chunk]
        if len(objects) <= MOST_SAMPLED and num_bytes(objects) <= MOST_BYTES:
            return chosen
    return [chunks[plan.split.train_end * len(chunks) // (2 * plan.split.validation_end)]]


def _before(chunks: list[list[int]], chosen: set[int]) -> set[int]:
    """Returns the entries of the chunks before these: rows gathered onto a grid reach over."""
    return {index for before, chunk in pairwise(chunks) if chunk[0] in chosen for index in before}
