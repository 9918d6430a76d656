"""One pass over the training part: vocabulary, scalers, and the windows of both parts.

The idea: everything that an attempt would otherwise find out again, or differently, is found
once here. Scalers and vocabulary see training chunks only; of validation chunks only the mask
is taken. Price: a bit for each server and step stays in memory until the windows are counted
(65 MB for half a billion rows).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from argus_contract.data_spec import DataRules
from argus_contract.digests import digest_of
from argus_contract.plan import BlockStatistics, FeatureStatistics, PinnedObject, Plan, Statistics
from argus_contract.spec import ModelSpec, TrainingSpec
from argus_trainer.data.cadence import cadence_of
from argus_trainer.data.decode import ChunkFile, Columns, Present, content_of
from argus_trainer.data.place import Placed, place
from argus_trainer.data.plan import training_time
from argus_trainer.data.rules import Rules
from argus_trainer.data.scaling import FeatureScaling, TargetScaling
from argus_trainer.data.schema import CALENDAR, calendar_names, measured_inputs, profile_of
from argus_trainer.data.windows import (
    Span,
    WindowRules,
    mask_digest,
    object_steps,
    overlap,
    training_spans,
    validation_spans,
    window_ids,
    window_positions,
)
from argus_trainer.errors import DataError
from argus_trainer.storage.store import Store


@dataclass
class _Seen:
    """What the pass has gathered so far; codes are in order of appearance."""

    features: list[FeatureScaling]
    targets: list[TargetScaling]
    codes: dict[str, int] = field(default_factory=dict)
    profiles: dict[str, str] = field(default_factory=dict)
    states: set[str] = field(default_factory=set)
    observed: set[int] = field(default_factory=set)
    """Codes of the servers with a row that counts."""
    masks: list[tuple[tuple[int, int], NDArray[np.uint8]]] = field(default_factory=list)
    """Of each object: its steps, and its observed [servers so far, steps] packed to bits."""
    rows: int = 0
    duplicates: int = 0
    outside: int = 0
    without_target: int = 0
    unknown: int = 0


def make_statistics(
    store: Store,
    plan: Plan,
    data: DataRules,
    model: ModelSpec,
    training: TrainingSpec,
    *,
    on_chunk: Callable[[int, int], None],
) -> Statistics:
    """Returns the statistics of a run. Calls `on_chunk(done, total)` after each object.

    Raises DataError for a missing column, a changed object, or data without one window.
    """
    names = tuple(target.name for target in model.targets)
    reading = Rules.of(data)
    first = _opened(store, plan.objects[0], reading)
    present = first.present()
    measured = measured_inputs(present.numeric, names, reading.metrics)
    seen = _Seen(
        features=[FeatureScaling(name) for name in measured],
        targets=[TargetScaling(name) for name in names],
    )
    metrics = (*measured, *names)
    cadence = reading.cadence_seconds or cadence_of(_decoded(first, metrics, present), first.name)
    if cadence is None:
        raise DataError(f"{first.name} shows no cadence: no server has two rows")
    num_objects = plan.split.validation_end
    for index, pinned in enumerate(plan.objects[:num_objects]):
        chunk = _opened(store, pinned, reading)
        columns = _decoded(chunk, metrics, present)
        _add(seen, columns, object_steps(pinned, cadence), cadence, index < plan.split.train_end)
        on_chunk(index + 1, num_objects)
    return _statistics(plan, data, model, training, seen, cadence)


def _opened(store: Store, pinned: PinnedObject, reading: Rules) -> ChunkFile:
    return ChunkFile(f"{store.uri}/{pinned.key}", content_of(store, pinned), reading)


def _decoded(chunk: ChunkFile, metrics: tuple[str, ...], present: Present) -> Columns:
    return chunk.columns(metrics, status=present.has_status, profile=present.has_profile)


def _add(
    seen: _Seen, columns: Columns, steps: tuple[int, int], cadence: int, is_training: bool
) -> None:
    if is_training:
        for name in columns.servers.values:
            seen.codes.setdefault(name, len(seen.codes))
    codes = np.array([seen.codes.get(name, -1) for name in columns.servers.values], dtype=np.int64)
    placed = place(columns, codes, steps, cadence, len(seen.targets))
    seen.duplicates += placed.duplicates
    seen.outside += placed.outside
    seen.without_target += placed.without_target
    seen.unknown += placed.unknown
    observed = np.zeros((len(seen.codes), steps[1] - steps[0]), dtype=np.bool_)
    observed[placed.servers, placed.steps] = True
    seen.masks.append((steps, np.packbits(observed, axis=1)))
    if is_training:
        _learn(seen, columns, placed)


def _learn(seen: _Seen, columns: Columns, placed: Placed) -> None:
    values = columns.values[placed.rows]
    seen.rows += len(placed.rows)
    seen.observed.update(np.unique(placed.servers).tolist())
    for index, feature in enumerate(seen.features):
        feature.add(values[:, index])
    for index, target in enumerate(seen.targets, start=len(seen.features)):
        target.add(placed.servers, values[:, index])
    if columns.status is not None:
        used = np.unique(columns.status.codes[placed.rows])
        seen.states |= {columns.status.values[code] for code in used if code >= 0}
    if columns.profiles is not None:
        pairs = np.unique(
            np.stack([columns.servers.codes, columns.profiles.codes])[:, placed.rows], axis=1
        )
        for server, profile in pairs.T:
            if profile >= 0:
                name = columns.servers.values[server]
                seen.profiles[name] = columns.profiles.values[profile]


def _statistics(
    plan: Plan,
    data: DataRules,
    model: ModelSpec,
    training: TrainingSpec,
    seen: _Seen,
    cadence: int,
) -> Statistics:
    rules = WindowRules.of(model, data, training)
    servers = sorted(_servers_with_rows(seen))
    order = [seen.codes[name] for name in servers]
    train = _blocks(seen, order, training_spans(plan, cadence, rules), rules)
    validation = _blocks(seen, order, validation_spans(plan, cadence, rules), rules)
    num_windows = _count(train)
    for part, windows in (("training", num_windows), ("validation", _count(validation))):
        if not windows:
            raise DataError(
                f"data.uri {plan.data_uri}: the {part} part holds no window of "
                f"{rules.encoder}+{rules.decoder} steps of {cadence} s without a gap over "
                f"{rules.max_gap_steps} steps ({len(servers)} servers, {seen.rows} training rows): "
                "record longer, or lower model.encoderLength and model.predictionLength"
            )
    most = training.windows_per_epoch or num_windows
    measured = [feature.statistics() for feature in seen.features]
    empty = [f.name for f, found in zip(seen.features, measured, strict=True) if found is None]
    known = calendar_names(training_time(plan))
    return Statistics(
        plan_digest=digest_of(plan),
        cadence_seconds=cadence,
        time_zone=data.time_zone,
        rows=seen.rows,
        servers=tuple(servers),
        states=tuple(sorted(seen.states)),
        profiles=tuple(seen.profiles.get(name) or profile_of(name) for name in servers),
        features=(
            *(FeatureStatistics(name=name, scaler=CALENDAR[name]) for name in known),
            *(found for found in measured if found is not None),
        ),
        targets=tuple(target.statistics(order) for target in seen.targets),
        training_blocks=train,
        validation_blocks=validation,
        steps_per_epoch=-(-min(num_windows, most) // training.batch_size),
        notes=tuple(_notes(seen, empty)),
    )


def _servers_with_rows(seen: _Seen) -> set[str]:
    """Returns the servers that were observed in training at least once."""
    return {name for name, code in seen.codes.items() if code in seen.observed}


def _blocks(
    seen: _Seen, order: list[int], spans: Iterable[Span], rules: WindowRules
) -> tuple[BlockStatistics, ...]:
    blocks = []
    for span in spans:
        observed = np.zeros((len(order), span.num_steps), dtype=np.bool_)
        for index in span.objects:
            steps, packed = seen.masks[index]
            theirs, ours = overlap(steps, span)
            bits = np.unpackbits(packed, axis=1, count=steps[1] - steps[0]).astype(np.bool_)
            rows = [row for row, code in enumerate(order) if code < len(bits)]
            observed[rows, ours] |= bits[[order[row] for row in rows], theirs]
        codes, first = window_positions(observed, span, rules)
        ids = window_ids(codes, first, span, rules)
        blocks.append(BlockStatistics(windows=len(ids), mask_digest=mask_digest(ids)))
    return tuple(blocks)


def _count(blocks: Iterable[BlockStatistics]) -> int:
    return sum(block.windows for block in blocks)


def _notes(seen: _Seen, empty: list[str]) -> Iterable[str]:
    counted = (
        (seen.duplicates, "duplicate rows: the last one written counts"),
        (seen.outside, "rows outside the time of their chunk: left out"),
        (seen.without_target, "rows without a value of every target: not observed"),
        (seen.unknown, "validation rows of servers that training never saw: left out"),
    )
    for count, what in counted:
        if count:
            yield f"{count} {what}"
    if empty:
        yield f"columns without one value in training, no input: {', '.join(empty)}"
