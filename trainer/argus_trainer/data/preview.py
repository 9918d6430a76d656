"""What a plan will mean, told before a GPU is asked for: from a sample, or exactly.

With the statistics of the run the counts are those that it trains on; without them the
sample's servers and coverage are taken for the whole, and each number says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from argus_contract.launch import Launch
from argus_contract.plan import Plan, Statistics
from argus_trainer.data.memory import Memory, mebibytes
from argus_trainer.data.sample import Sample
from argus_trainer.data.shuffle import full_shuffle_share, same_block_share
from argus_trainer.data.spans import usual_seconds
from argus_trainer.data.windows import Span, WindowRules, training_spans, validation_spans


def preview(
    plan: Plan, launch: Launch, *, sample: Sample | None, statistics: Statistics | None
) -> list[str]:
    """Returns the lines that `argus plan` prints and that stand in the log of a run.

    At least one of sample and statistics is needed; counts are exact with statistics.
    """
    counts = _counts(plan, launch, sample, statistics)
    files = plan.files()
    chunks = len({entry.start for entry in plan.objects})
    parts = [
        len({entry.start for entry in part})
        for part in (
            plan.objects[: plan.split.train_end],
            plan.objects[plan.split.train_end : plan.split.validation_end],
            plan.objects[plan.split.validation_end :],
        )
    ]
    memory = counts.memory
    mixed = same_block_share(counts.windows_of_block, seed=plan.seed, mix_width=plan.mix_width)
    fully_mixed = full_shuffle_share(counts.windows_of_block)
    steps = -(-counts.per_epoch // launch.training.batch_size)
    lines = [
        f"data       {plan.data_uri}, version {plan.manifest_digest[:12]}",
        f"window     {_text(plan.window.start)} to {_text(plan.window.end)}",
        f"chunks     {chunks:,} of {timedelta(seconds=usual_seconds(plan.objects))} in "
        f"{len(files):,} objects, {size_text(sum(entry.size for entry in files))}",
        f"split      {parts[0]:,} training, {parts[1]:,} validation, {parts[2]:,} holdout chunks",
        f"rows       {counts.about}{counts.rows:,} in training, one every "
        f"{counts.cadence_seconds} s of {counts.servers:,} servers",
        f"coverage   {counts.about}{100 * counts.coverage:.1f} % of servers and steps in training",
        f"windows    {counts.about}{counts.training:,} training, {counts.about}"
        f"{counts.validation:,} validation, of {launch.model.encoder_length}+"
        f"{launch.model.prediction_length} steps",
        f"epoch      {counts.about}{steps:,} steps of {launch.training.batch_size} windows",
        f"mixing     {counts.about}{100 * mixed:.1f} % of neighbours in the order are of one "
        f"block; {counts.about}{100 * fully_mixed:.1f} % in a full shuffle",
        f"fetch      {size_text(_epoch_bytes(plan, counts.training_spans))} an epoch with its "
        f"halo when streamed; {size_text(_bytes(plan, counts.training_spans))} once when kept",
        f"memory     {counts.about}{mebibytes(memory.least)} at least, {counts.about}"
        f"{mebibytes(memory.recommended)} recommended for training.memoryBudget; with "
        f"{counts.about}{mebibytes(memory.everything)} each block is read once",
    ]
    if sample:
        rate = sample.bytes / max(sample.seconds, 1e-9)
        reading = duration_text(_epoch_bytes(plan, counts.training_spans) / max(rate, 1e-9))
        lines.append(
            f"time       {reading} to fetch and decode a streamed epoch here with one thread "
            f"({size_text(rate)}/s measured on {sample.objects} objects); the model's own time is "
            "not measured"
        )
        if statistics is None:
            lines.append(f"~ is an estimate from {sample.objects} of {len(files):,} objects")
    return [*lines, *(f"note       {note}" for note in (*plan.notes, *_notes_of(statistics)))]


@dataclass(frozen=True, kw_only=True)
class _Counts:
    about: str
    """Stands before a number that is an estimate."""
    rows: int
    servers: int
    coverage: float
    cadence_seconds: int
    training: int
    validation: int
    per_epoch: int
    training_spans: tuple[Span, ...]
    windows_of_block: tuple[int, ...]
    memory: Memory


def _counts(
    plan: Plan, launch: Launch, sample: Sample | None, statistics: Statistics | None
) -> _Counts:
    rules = WindowRules.of(launch.model, launch.data, launch.training)
    most = launch.training.windows_per_epoch
    if statistics:
        cadence = statistics.cadence_seconds
        spans = training_spans(plan, cadence, rules)
        training = sum(block.windows for block in statistics.training_blocks)
        places = _steps(spans) * len(statistics.servers)
        return _Counts(
            about="",
            rows=statistics.rows,
            servers=len(statistics.servers),
            coverage=statistics.rows / places if places else 0.0,
            cadence_seconds=cadence,
            training=training,
            validation=sum(block.windows for block in statistics.validation_blocks),
            per_epoch=min(training, most or training),
            training_spans=spans,
            windows_of_block=tuple(block.windows for block in statistics.training_blocks),
            memory=Memory.of(plan, statistics, rules, launch.training.batch_size),
        )
    if sample is None:
        raise ValueError("a preview needs a sample or statistics")
    cadence = sample.cadence_seconds
    spans = training_spans(plan, cadence, rules)
    training = round(_ends(spans, rules) * sample.rows_per_step / rules.stride)
    held_back = rules.decoder - 1
    validation = max(_steps(validation_spans(plan, cadence, rules)) - held_back, 0)
    return _Counts(
        about="~",
        rows=round(_steps(spans) * sample.rows_per_step),
        servers=sample.servers,
        coverage=sample.coverage,
        cadence_seconds=cadence,
        training=training,
        validation=round(validation * sample.rows_per_step),
        per_epoch=min(training, most or training),
        training_spans=spans,
        windows_of_block=tuple(span.end - span.start for span in spans),
        memory=Memory.about(
            plan,
            sample.inputs,
            rules,
            launch.training.batch_size,
            cadence_seconds=cadence,
            servers=sample.servers,
        ),
    )


def _ends(spans: Iterable[Span], rules: WindowRules) -> int:
    """Returns the steps at which a window may end: in each stretch of time all but the first."""
    ends = 0
    stretch_start = last_end = -1
    for span in spans:
        if span.start != last_end:
            stretch_start = span.start
        last_end = span.end
        ends += max(span.end - max(span.start, stretch_start + rules.window - 1), 0)
    return ends


def _steps(spans: Iterable[Span]) -> int:
    return sum(span.end - span.start for span in spans)


def _epoch_bytes(plan: Plan, spans: Iterable[Span]) -> int:
    """Returns what an epoch fetches when no block is kept: each block with its halo."""
    return sum(_bytes(plan, [span]) for span in spans)


def _bytes(plan: Plan, spans: Iterable[Span]) -> int:
    indices = {index for span in spans for index in span.objects}
    return sum({plan.objects[i].key: plan.objects[i].size for i in indices}.values())


def _notes_of(statistics: Statistics | None) -> tuple[str, ...]:
    return statistics.notes if statistics else ()


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def size_text(count: float) -> str:
    """Returns a number of bytes in the unit that a person would choose."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def duration_text(seconds: float) -> str:
    """Returns a duration in the unit that a person would choose."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
