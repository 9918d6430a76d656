"""One pass over training and validation: vocabulary, scalers, and the windows of both parts.

The idea: everything that an attempt would otherwise find out again, or differently, is found
once here. Scalers and vocabulary see training objects only; of validation objects only the
mask is taken, and the names of servers that training never saw.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from argus_contract.digests import digest_of
from argus_contract.launch import LaunchData
from argus_contract.plan import AbsentValues, FeatureStatistics, Plan, Statistics
from argus_contract.spec import ModelSpec, TrainingSpec
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.foresight import Foresight
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.moments import Indices, Moments
from argus_trainer.data.plan import training_time
from argus_trainer.data.reasons import WITHOUT, Part, Slower, some
from argus_trainer.data.record import ObjectRecord, RecordForm
from argus_trainer.data.rules import Rules
from argus_trainer.data.scaling import TargetScaling, feature_statistics
from argus_trainer.data.schema import CALENDAR, calendar_names
from argus_trainer.data.slower import by_cadence, slow_servers
from argus_trainer.data.survey import Kept, Survey
from argus_trainer.data.vocabulary import Vocabulary
from argus_trainer.data.window_count import Mask, windows_of_part
from argus_trainer.data.windows import (
    WindowRules,
    object_steps,
    training_spans,
    validation_spans,
)

ODDITIES = {
    "empty": "objects without a row: their time is a gap",
    "without_time": "rows without a time: left out",
    "without_server": "rows without a server's name: left out",
    "not_chosen": "rows of servers that data.servers does not choose: left out",
    "not_finite": "values that are NaN, infinite or beyond what float32 holds: they count as none",
    "late": "rows from before the time of their chunk: left out",
    "future": "rows from after the time of their chunk: left out",
    "without_target": "rows without a value of every target: not observed",
    "duplicates": "duplicate rows: the last one written counts",
    "crowded": "rows of a server that share a step with another time of it: the last one written "
    "counts (data.cadenceSeconds gathers them)",
    "new_metrics": "times a metric that the first chunk does not have: no input",
    "unsorted": "rows that stand behind a newer one of their server: they count all the same",
}
"""What a note says of rows that a rule settled, by the names of a record's oddities."""


def make_statistics(
    fetcher: Fetcher,
    plan: Plan,
    data: LaunchData,
    model: ModelSpec,
    training: TrainingSpec,
    *,
    cache: Kept,
    decode_bytes: int | None = None,
    training_budget: int | None = None,
    check: Callable[[], None],
) -> Statistics:
    """Returns the statistics of a run. Calls `check`, which may raise, while it waits.

    Objects are decoded within `decode_bytes`; None: no limit. Raises ConfigurationError, naming
    the object, for one that alone takes more, and, as soon as it shows, where the training cannot
    work within `training_budget`; DataError for a missing column, a changed object, or data
    without one window.
    """
    targets = tuple(target.name for target in model.targets)
    objects = plan.objects[: plan.split.validation_end]
    survey = Survey(
        fetcher,
        objects,
        targets,
        Rules.of(data),
        cache,
        decode_bytes=decode_bytes,
        check=check,
    )
    seen = _Seen(survey.form)
    rules = WindowRules.of(model, data, training)
    foresight = Foresight(plan, rules, training.batch_size, budget=training_budget)
    for index, (pinned, record) in enumerate(zip(objects, survey.records(), strict=True)):
        steps = object_steps(pinned, survey.form.cadence_seconds)
        seen.add(
            record,
            steps,
            is_training=index < plan.split.train_end,
            sliced=pinned.sliced,
        )
        if foresight.wants(len(seen.vocabulary)):
            foresight.look(
                seen.inputs(calendar_names(training_time(plan))),
                seen.form.cadence_seconds,
                servers=len(seen.vocabulary),
                read=index + 1,
            )
    return _statistics(plan, data, training, rules, seen, survey.others)


class _Seen:
    """What the pass has merged so far."""

    def __init__(self, form: RecordForm) -> None:
        self.form = form
        self.vocabulary = Vocabulary()
        self.features = Moments.none(len(form.features))
        self.targets = [TargetScaling(name) for name in form.targets]
        self.masks: list[Mask] = []
        self.rows = 0
        self.rows_of_unseen = 0
        self.oddities: Counter[str] = Counter()
        self.of_training: Counter[str] = Counter()
        """The same, of the training part alone."""

    def inputs(self, calendar: tuple[str, ...]) -> Inputs:
        """Returns the inputs that are certain: a column without a value so far may be none."""
        features = zip(self.form.features, self.features.count, strict=True)
        return Inputs(
            calendar=calendar,
            features=tuple(name for name, count in features if count),
            targets=self.form.targets,
            has_status=bool(self.vocabulary.states),
        )

    def add(
        self, record: ObjectRecord, steps: tuple[int, int], *, is_training: bool, sliced: bool
    ) -> None:
        codes = self.vocabulary.add(record, is_training=is_training)
        mask = Mask(steps=steps, codes=codes, observed_SB=record.observed_SB)
        self.masks.append(mask)
        for name, count in record.oddities.items():
            # What another entry of the same object takes is no oddity.
            if not (sliced and name in ("late", "future")):
                self.oddities[name] += count
        if not (sliced or record.rows or record.oddities):
            self.oddities["empty"] += 1
        if is_training:
            self.of_training.update(record.oddities)
            self.rows += record.rows
            self.features = self.features.merged(record.features)
            for scaling, target in zip(self.targets, record.targets, strict=True):
                scaling.add(codes, target)
        else:
            unseen = codes >= self.vocabulary.num_trained
            self.rows_of_unseen += int(np.bitwise_count(record.observed_SB[unseen]).sum())


def _statistics(
    plan: Plan,
    data: LaunchData,
    training: TrainingSpec,
    rules: WindowRules,
    seen: _Seen,
    others: Sequence[str],
) -> Statistics:
    """Raises DataError, which says why, where a part has no window."""
    cadence, vocabulary = seen.form.cadence_seconds, seen.vocabulary
    servers, unseen = vocabulary.trained, vocabulary.unseen
    trained = vocabulary.codes(servers)
    slow = slow_servers(seen.masks, cadence)
    keys = [pinned.key for pinned in plan.objects]
    slower = by_cadence(slow, vocabulary.names, keys)

    def part(name: str, codes: Indices, masks: Sequence[Mask]) -> Part:
        theirs = {code: slow[code] for code in codes.tolist() if code in slow}
        return Part(
            name=name,
            uri=plan.data_uri,
            cadence_seconds=cadence,
            servers=len(codes),
            rows=sum(int(np.bitwise_count(mask.observed_SB).sum()) for mask in masks),
            oddities=seen.oddities,
            targets=seen.form.targets,
            chosen=data.servers,
            others=others,
            slower=by_cadence(theirs, vocabulary.names, keys),
        )

    border = plan.split.train_end
    train, has_window = windows_of_part(
        part("training", trained, seen.masks[:border]),
        seen.masks,
        trained,
        partial(training_spans, plan, cadence),
        rules,
    )
    everybody = np.concatenate([trained, vocabulary.codes(unseen)])
    validation, _ = windows_of_part(
        part("validation", everybody, seen.masks[border:]),
        seen.masks,
        everybody,
        partial(validation_spans, plan, cadence),
        rules,
    )
    num_windows = sum(block.windows for block in train)
    most = training.windows_per_epoch or num_windows
    measured = [
        feature_statistics(name, seen.features.at([index]))
        for index, name in enumerate(seen.form.features)
    ]
    known = calendar_names(training_time(plan))
    return Statistics(
        plan_digest=digest_of(plan),
        cadence_seconds=cadence,
        time_zone=data.time_zone,
        rows=seen.rows,
        servers=servers,
        unseen_servers=unseen,
        states=vocabulary.states,
        profiles=vocabulary.profiles(servers),
        features=(
            *(FeatureStatistics(name=name, scaler=CALENDAR[name]) for name in known),
            *(found for found in measured if found is not None),
        ),
        targets=tuple(target.statistics(trained) for target in seen.targets),
        training_blocks=train,
        validation_blocks=validation,
        steps_per_epoch=-(-min(num_windows, most) // training.batch_size),
        absent=tuple(_absent(seen)),
        notes=(*_notes(seen), *_without_window(servers, has_window, slower, cadence)),
    )


def _without_window(
    servers: tuple[str, ...],
    has_window: NDArray[np.bool_],
    slower: Sequence[Slower],
    cadence_seconds: int,
) -> Iterable[str]:
    """Yields what is told of servers that are too slow for the grid, and of others without one."""
    without = {name for name, has in zip(servers, has_window, strict=True) if not has}
    for found in slower:
        yield found.told(cadence_seconds, without_window=len(without.intersection(found.names)))
        without.difference_update(found.names)
    if without:
        yield f"{len(without)} servers without one window in training: {some(sorted(without))}"


def _absent(seen: _Seen) -> Iterable[AbsentValues]:
    """Yields the metrics that some rows of the training part lack."""
    for name, count in zip(seen.form.features, seen.features.count, strict=True):
        if missing := seen.rows - int(count):
            yield AbsentValues(name=name, absent=missing, rows=seen.rows)
    # A row without one target does not count, so of targets it is those rows that lack it.
    all_rows = seen.rows + seen.of_training["without_target"]
    for name in seen.form.targets:
        if missing := min(seen.of_training[f"{WITHOUT}{name}"], all_rows):
            yield AbsentValues(name=name, absent=missing, rows=all_rows)


def _notes(seen: _Seen) -> Iterable[str]:
    for name, what in ODDITIES.items():
        if count := seen.oddities[name]:
            yield f"{count} {what}"
    if unseen := seen.vocabulary.unseen:
        yield (
            f"{len(unseen)} servers of the validation part ({seen.rows_of_unseen} rows) that "
            "training never saw: they have the fleet's scale"
        )
    if new := seen.vocabulary.unseen_states:
        yield (
            f"{len(new)} states of the validation part that training never saw: unknown to it "
            f"({some(new)})"
        )
    counts = seen.features.count
    empty = [name for name, count in zip(seen.form.features, counts, strict=True) if not count]
    if empty:
        yield f"columns without one value in training, no input: {', '.join(empty)}"
