"""What a run will count and hold: exactly with its statistics, else about, from a sample.

A chunk that was not read is taken as one of the nearest that were, and windows are counted on
that by the rules of the run: gaps, shares that must be observed, holes in time, the stride.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from argus_contract.launch import Launch
from argus_contract.plan import BlockStatistics, Plan, Statistics
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.memory import Memory
from argus_trainer.data.plan import training_time
from argus_trainer.data.reasons import Part
from argus_trainer.data.sample import Sample, chunks_of_plan, spread
from argus_trainer.data.schema import calendar_names
from argus_trainer.data.window_count import Mask, windows_of_part
from argus_trainer.data.windows import (
    Span,
    WindowRules,
    object_steps,
    training_spans,
    validation_spans,
)

NUM_NEAR = 4
"""Chunks that were read which stand in turn for one that was not."""
MOST_CELLS = 1 << 24
"""Servers times steps on which windows are estimated, a second or two; more are some servers."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of training, but for the validation windows."""

    is_estimate: bool
    rows: int
    servers: int
    steps: int
    """Of the time of all training chunks."""
    cadence_seconds: int
    windows_of_block: tuple[int, ...]
    validation: int
    spans: tuple[Span, ...]
    memory: Memory

    @property
    def coverage(self) -> float:
        """Share of the servers that a step sees."""
        places = self.servers * self.steps
        return self.rows / places if places else 0.0

    @property
    def windows(self) -> int:
        return sum(self.windows_of_block)


def exact_counts(plan: Plan, launch: Launch, statistics: Statistics) -> Counts:
    """Returns the numbers that the run trains on."""
    rules = WindowRules.of(launch.model, launch.data, launch.training)
    spans = training_spans(plan, statistics.cadence_seconds, rules)
    return Counts(
        is_estimate=False,
        rows=statistics.rows,
        servers=len(statistics.servers),
        steps=_steps(spans),
        cadence_seconds=statistics.cadence_seconds,
        windows_of_block=tuple(block.windows for block in statistics.training_blocks),
        validation=_windows(statistics.validation_blocks),
        spans=spans,
        memory=Memory.of(plan, statistics, rules, launch.training.batch_size),
    )


def estimated_counts(plan: Plan, launch: Launch, sample: Sample) -> Counts:
    """Returns what the run will about count. Raises DataError where no window is to be seen."""
    rules = WindowRules.of(launch.model, launch.data, launch.training)
    cadence, border = sample.form.cadence_seconds, plan.split.train_end
    of_training = [record for index, record in sample.records.items() if index < border]
    trained = sorted({name for record in of_training for name in record.servers})
    seen = {name for record in sample.records.values() for name in record.servers}
    later = sorted(seen.difference(trained))
    grids = _Grids(plan, sample, trained, later)
    masks = grids.masks()
    train, _ = windows_of_part(
        _part("training", plan, launch, sample, servers=trained),
        masks,
        np.arange(grids.num_trained),
        partial(training_spans, plan, cadence),
        rules,
    )
    validation, _ = windows_of_part(
        _part("validation", plan, launch, sample, servers=seen),
        masks,
        np.arange(grids.num_servers),
        partial(validation_spans, plan, cadence),
        rules,
    )
    blocks = [round(block.windows * grids.scale) for block in train]
    blocks_after = [round(block.windows * grids.scale) for block in validation]
    spans = training_spans(plan, cadence, rules)
    values = sum(record.features.count for record in of_training)
    is_input = np.broadcast_to(np.asarray(values) > 0, len(sample.form.features))
    features = zip(sample.form.features, is_input, strict=True)
    return Counts(
        is_estimate=True,
        rows=round(grids.scale * sum(_rows(mask) for mask in masks[:border])),
        servers=len(trained),
        steps=_steps(spans),
        cadence_seconds=cadence,
        windows_of_block=tuple(blocks),
        validation=sum(blocks_after),
        spans=spans,
        memory=Memory.about(
            plan,
            Inputs(
                calendar=calendar_names(training_time(plan)),
                features=tuple(name for name, there in features if there),
                targets=sample.form.targets,
                has_status=any(record.states for record in of_training),
            ),
            rules,
            launch.training.batch_size,
            cadence_seconds=cadence,
            servers=len(seen),
            windows=[*blocks, *blocks_after],
        ),
    )


class _Grids:
    """Observed steps of each chunk of a plan, for servers of the sample."""

    def __init__(
        self, plan: Plan, sample: Sample, trained: Sequence[str], later: Sequence[str]
    ) -> None:
        self._plan, self._sample = plan, sample
        self._cadence = sample.form.cadence_seconds
        self._chunks = chunks_of_plan(plan)
        steps = sum(end - start for start, end in map(self._steps, self._chunks))
        most = max(MOST_CELLS // steps, 1)
        shown = [trained[place] for place in spread(most, len(trained))] if trained else []
        shown += [later[place] for place in spread(most, len(later))] if later else []
        self._row_of = {name: row for row, name in enumerate(shown)}
        self.num_servers = len(shown)
        self.num_trained = min(most, len(trained))
        self.scale = (len(trained) + len(later)) / max(len(shown), 1)
        """Servers for each one that is shown."""

    def masks(self) -> list[Mask]:
        """Returns a mask for each entry of the plan; the first of a chunk has all of it."""
        known = [n for n, chunk in enumerate(self._chunks) if chunk[0] in self._sample.records]
        # The first and the last chunk may be whole for a part of their time only.
        inner = [number for number in known if 0 < number < len(self._chunks) - 1] or known
        made: dict[tuple[int, int], NDArray[np.uint8]] = {}
        rows, none = np.arange(self.num_servers), np.arange(0)
        masks = []
        for number, chunk in enumerate(self._chunks):
            source = number if number in known else _near(inner, number)
            start, end = steps = self._steps(chunk)
            key = source, end - start
            if key not in made:
                observed_ST = self._observed(self._chunks[source])
                places = np.arange(end - start) % observed_ST.shape[1]
                made[key] = np.packbits(observed_ST[:, places], axis=1)
            masks.append(Mask(steps=steps, codes=rows, observed_SB=made[key]))
            empty = Mask(steps=steps, codes=none, observed_SB=made[key][:0])
            masks += [empty] * (len(chunk) - 1)
        return masks

    def _steps(self, chunk: list[int]) -> tuple[int, int]:
        return object_steps(self._plan.objects[chunk[0]], self._cadence)

    def _observed(self, chunk: list[int]) -> NDArray[np.bool_]:
        start, end = self._steps(chunk)
        observed_ST = np.zeros((self.num_servers, end - start), dtype=np.bool_)
        for index in chunk:
            record = self._sample.records[index]
            rows = np.array([self._row_of.get(name, -1) for name in record.servers], dtype=np.int64)
            bits = np.unpackbits(record.observed_SB, axis=1, count=end - start).view(np.bool_)
            observed_ST[rows[rows >= 0]] |= bits[rows >= 0]
        return observed_ST


def _part(
    name: str, plan: Plan, launch: Launch, sample: Sample, *, servers: Collection[str]
) -> Part:
    oddities: dict[str, int] = {}
    for record in sample.records.values():
        for oddity, count in record.oddities.items():
            oddities[oddity] = oddities.get(oddity, 0) + count
    return Part(
        name=name,
        uri=plan.data_uri,
        cadence_seconds=sample.form.cadence_seconds,
        servers=len(servers),
        rows=sum(record.rows for record in sample.records.values()),
        oddities=oddities,
        targets=sample.form.targets,
        chosen=launch.data.servers,
        others=sample.others,
        slower=[
            replace(found, names=theirs)
            for found in sample.slower
            if (theirs := [name for name in found.names if name in servers])
        ],
    )


def _near(places: Sequence[int], place: int) -> int:
    """Returns one of the nearest: another one each time, as neighbours are not copies."""
    after = bisect_left(places, place)
    begin = max(0, min(after - NUM_NEAR // 2, len(places) - NUM_NEAR))
    near = places[begin : begin + NUM_NEAR]
    return near[place % len(near)]


def _rows(mask: Mask) -> int:
    return int(np.bitwise_count(mask.observed_SB).sum())


def _steps(spans: Sequence[Span]) -> int:
    return sum(span.end - span.start for span in spans)


def _windows(blocks: Sequence[BlockStatistics]) -> int:
    return sum(block.windows for block in blocks)
