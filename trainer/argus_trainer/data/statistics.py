"""One pass over training and validation: vocabulary, scalers, and the windows of both parts.

The idea: everything that an attempt would otherwise find out again, or differently, is found
once here. Scalers and vocabulary see training objects only; of validation objects only the
mask is taken, and the names of servers that training never saw.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from argus_contract.digests import digest_of
from argus_contract.launch import LaunchData
from argus_contract.plan import BlockStatistics, FeatureStatistics, Plan, Statistics
from argus_contract.spec import ModelSpec, TrainingSpec
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.moments import Moments
from argus_trainer.data.plan import training_time
from argus_trainer.data.record import ObjectRecord, RecordForm
from argus_trainer.data.record_cache import RecordCache
from argus_trainer.data.rules import Rules
from argus_trainer.data.scaling import TargetScaling, feature_statistics
from argus_trainer.data.schema import CALENDAR, calendar_names
from argus_trainer.data.survey import Survey
from argus_trainer.data.vocabulary import Vocabulary
from argus_trainer.data.window_count import Mask, count_windows
from argus_trainer.data.windows import (
    WindowRules,
    object_steps,
    training_spans,
    validation_spans,
)
from argus_trainer.errors import DataError

ODDITIES = {
    "without_time": "rows without a time: left out",
    "without_server": "rows without a server's name: left out",
    "not_chosen": "rows of servers that data.servers does not choose: left out",
    "not_finite": "values that are NaN or infinite: they count as none",
    "late": "rows from before the time of their chunk: left out",
    "future": "rows from after the time of their chunk: left out",
    "without_target": "rows without a value of every target: not observed",
    "duplicates": "duplicate rows: the last one written counts",
    "new_metrics": "times a metric that the first chunk does not have: no input",
    "unsorted": "rows that stand behind a newer one of their server: they count all the same",
}
"""What a note says of rows that a rule settled, by the names of a record's oddities."""
MOST_NAMES, LONGEST_NAME = 3, 63
"""Servers that a note names, and characters of a name."""


def make_statistics(
    fetcher: Fetcher,
    plan: Plan,
    data: LaunchData,
    model: ModelSpec,
    training: TrainingSpec,
    *,
    cache: RecordCache,
    check: Callable[[], None],
) -> Statistics:
    """Returns the statistics of a run. Calls `check`, which may raise, while it waits.

    Raises DataError for a missing column, a changed object, or data without one window.
    """
    targets = tuple(target.name for target in model.targets)
    objects = plan.objects[: plan.split.validation_end]
    survey = Survey(fetcher, objects, targets, Rules.of(data), cache, check=check)
    seen = _Seen(survey.form)
    for index, (pinned, record) in enumerate(zip(objects, survey.records(), strict=True)):
        steps = object_steps(pinned, survey.form.cadence_seconds)
        seen.add(
            record,
            steps,
            is_training=index < plan.split.train_end,
            sliced=pinned.sliced,
        )
    rules = WindowRules.of(model, data, training)
    return _statistics(plan, data, training, rules, seen)


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
        if is_training:
            self.rows += record.rows
            self.features = self.features.merged(record.features)
            for scaling, target in zip(self.targets, record.targets, strict=True):
                scaling.add(codes, target)
        else:
            unseen = codes >= self.vocabulary.num_trained
            self.rows_of_unseen += int(np.bitwise_count(record.observed_SB[unseen]).sum())


def _statistics(
    plan: Plan, data: LaunchData, training: TrainingSpec, rules: WindowRules, seen: _Seen
) -> Statistics:
    cadence, vocabulary = seen.form.cadence_seconds, seen.vocabulary
    servers, unseen = vocabulary.trained, vocabulary.unseen
    trained = vocabulary.codes(servers)
    train, has_window = count_windows(
        seen.masks, trained, training_spans(plan, cadence, rules), rules
    )
    validation, _ = count_windows(
        seen.masks,
        np.concatenate([trained, vocabulary.codes(unseen)]),
        validation_spans(plan, cadence, rules),
        rules,
    )
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
        notes=(*_notes(seen), *_without_window(servers, has_window)),
    )


def _count(blocks: Iterable[BlockStatistics]) -> int:
    return sum(block.windows for block in blocks)


def _without_window(servers: tuple[str, ...], has_window: NDArray[np.bool_]) -> Iterable[str]:
    without = [name for name, has in zip(servers, has_window, strict=True) if not has]
    if without:
        names = ", ".join(name[:LONGEST_NAME] for name in without[:MOST_NAMES])
        more = f" and {len(without) - MOST_NAMES} more" if len(without) > MOST_NAMES else ""
        yield f"{len(without)} servers without one window in training: {names}{more}"


def _notes(seen: _Seen) -> Iterable[str]:
    for name, what in ODDITIES.items():
        if count := seen.oddities[name]:
            yield f"{count} {what}"
    if unseen := seen.vocabulary.unseen:
        yield (
            f"{len(unseen)} servers of the validation part ({seen.rows_of_unseen} rows) that "
            "training never saw: they have the fleet's scale"
        )
    counts = seen.features.count
    empty = [name for name, count in zip(seen.form.features, counts, strict=True) if not count]
    if empty:
        yield f"columns without one value in training, no input: {', '.join(empty)}"
