"""What a plan means, in lines for a person: in the log of a run, and before there is one.

`about_plan` tells what the listing knows, `about_counts` what was read. Each number that is an
estimate has a `~`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from argus_contract.launch import Launch
from argus_contract.plan import PinnedObject, Plan, Statistics
from argus_trainer.data.counts import Counts
from argus_trainer.data.memory import budget_of, mebibytes
from argus_trainer.data.shuffle import full_shuffle_share, same_block_share
from argus_trainer.data.spans import usual_seconds
from argus_trainer.data.windows import Span
from argus_trainer.wording import counted


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read to plan, and what it took on this machine."""

    objects: int
    """Different ones."""
    bytes: int
    """Fetched: an object counts each time."""
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / max(self.seconds, 1e-9)


def about_plan(plan: Plan) -> list[str]:
    """Returns what the listing tells."""
    files = plan.files()
    length = timedelta(seconds=usual_seconds(plan.objects))
    ends = (plan.split.train_end, plan.split.validation_end, len(plan.objects))
    training, validation, holdout = (
        len({entry.start for entry in plan.objects[begin:end]})
        for begin, end in zip((0, *ends), ends, strict=False)
    )
    return [
        f"data       {plan.data_uri}, version {plan.manifest_digest[:12]}",
        f"window     {_text(plan.window.start)} to {_text(plan.window.end)}",
        f"chunks     {training + validation + holdout:,} of {length} in "
        f"{_number(len(files), 'object')}, {size_text(sum(entry.size for entry in files))}",
        f"split      {training:,} training, {validation:,} validation, {holdout:,} holdout chunks",
    ]


def about_counts(
    plan: Plan,
    launch: Launch,
    counts: Counts,
    *,
    reading: Reading | None = None,
    trains_here: bool = True,
) -> list[str]:
    """Returns what the data tells; with `reading`, also how long it takes on this machine.

    What a run holds is told where this process `trains_here`: another one may take other memory.
    Raises ConfigurationError where the memory of this machine cannot be told.
    """
    about = "~" if counts.is_estimate else ""
    model, training, memory = launch.model, launch.training, counts.memory
    per_epoch = min(counts.windows, training.windows_per_epoch or counts.windows)
    steps = -(-per_epoch // training.batch_size)
    drawn = "" if per_epoch == counts.windows else f", {about}{per_epoch:,} of them an epoch"
    blocks = counts.windows_of_block
    mixed = same_block_share(blocks, seed=plan.seed, mix_width=plan.mix_width)
    streamed, once = _epoch_bytes(plan, counts.spans), _bytes(plan, counts.spans)
    lines = [
        f"rows       {about}{counts.rows:,} in training, one every {counts.cadence_seconds} s of "
        f"{about}{_number(counts.servers, 'server')}",
        f"coverage   {about}{100 * counts.coverage:.1f} % of these servers' steps in training",
        f"windows    {about}{counts.windows:,} training{drawn}, {about}{counts.validation:,} "
        f"validation, of {model.encoder_length}+{model.prediction_length} steps",
        f"epoch      {about}{steps:,} steps of {_number(training.batch_size, 'window')}",
        f"mixing     {about}{100 * mixed:.1f} % of neighbours in the order are of one "
        f"block; {about}{100 * full_shuffle_share(blocks):.1f} % in a full shuffle",
        f"fetch      {size_text(once)} once when all blocks stay; {size_text(streamed)} an epoch "
        "when they come and go",
        f"memory     {about}{mebibytes(memory.least)} at least, {about}"
        f"{mebibytes(memory.recommended)} recommended for training.memoryBudget; with "
        f"{about}{mebibytes(memory.everything)} each block is read once",
    ]
    if trains_here:
        lines.append(f"holds      {_held(launch, counts)}")
    if reading:
        rate = reading.bytes_per_second
        first = num_bytes(plan.objects[: plan.split.validation_end]) / rate
        files = _number(len(plan.files()), "object")
        lines += [
            f"time       {duration_text(first)} to read everything once for the statistics; "
            f"{duration_text(streamed / rate)} for an epoch when blocks come and go",
            f"measured   {size_text(rate)}/s here, from {reading.objects:,} of {files}"
            + (": ~ is an estimate from them" if about else "")
            + "; training itself is not measured",
        ]
    return lines


def about_run(
    plan: Plan, launch: Launch, counts: Counts, statistics: Statistics, *, trains_here: bool = True
) -> list[str]:
    """Returns all that is told of a run whose statistics stand."""
    return [
        *about_plan(plan),
        *about_counts(plan, launch, counts, trains_here=trains_here),
        *about_notes((*plan.notes, *statistics.notes)),
    ]


def about_notes(notes: Iterable[str]) -> list[str]:
    """Returns what was settled by a rule and counted."""
    return [f"note       {note}" for note in notes]


def num_bytes(objects: Sequence[PinnedObject]) -> int:
    return sum(pinned.size for pinned in objects)


def _held(launch: Launch, counts: Counts) -> str:
    """Returns what this run keeps in memory."""
    about = "~" if counts.is_estimate else ""
    everything = f"{about}{mebibytes(counts.memory.everything)}"
    budget = budget_of(launch.training)
    if budget is None:
        return f"{everything}: all blocks stay, whatever that takes (Standard)"
    whose = "training.memoryBudget"
    if launch.training.memory_budget is None:
        whose = "half of what this process may use"
    if budget >= counts.memory.everything:
        return f"{everything} of {mebibytes(budget)} ({whose}): all blocks stay"
    if budget >= counts.memory.least:
        return f"{about}{mebibytes(budget)} ({whose}): blocks come and go"
    return f"less than {about}{mebibytes(counts.memory.least)} cannot work"


def _epoch_bytes(plan: Plan, spans: Iterable[Span]) -> int:
    """Returns what an epoch fetches when no block is kept: each block with its halo."""
    return sum(_bytes(plan, [span]) for span in spans)


def _bytes(plan: Plan, spans: Iterable[Span]) -> int:
    indices = {index for span in spans for index in span.objects}
    return sum({plan.objects[i].key: plan.objects[i].size for i in indices}.values())


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _number(count: int, noun: str) -> str:
    return counted(count, noun).replace(str(count), f"{count:,}", 1)


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
