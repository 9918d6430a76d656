"""`argus plan`: what a run would do, and whether it would be refused, before it does anything.

It goes the way of the run up to its first step, through the same code, and writes nothing: GPU,
plan, statistics, memory. Where reading everything would take long a sample stands for it, and a
refusal that rests on the sample says so. A run that was begun shows its own plan and counts.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from argus_contract.launch import Launch
from argus_contract.plan import Plan, Statistics
from argus_trainer.bundle.records import find_published
from argus_trainer.checkpoints.run import RunStore
from argus_trainer.data.counts import estimated_counts, exact_counts
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.memory import SurveyShares, budget_of
from argus_trainer.data.plan import make_plan
from argus_trainer.data.preview import Reading, about_counts, about_notes, about_plan, num_bytes
from argus_trainer.data.sample import Sample, is_quick, sample_of, whole
from argus_trainer.errors import ConfigurationError, DataError
from argus_trainer.process.gpus import check_count, check_gpus
from argus_trainer.storage.open import open_source, open_store
from argus_trainer.storage.store import Source

NO_BUNDLE = "not reserved"

Say = Callable[[str], None]


def show(launch: Launch, say: Say, *, anew: bool = False) -> None:
    """Says what the run would read, hold and take; `anew`: as if it was never begun.

    Raises what the run would raise before its first step, as far as what is read can tell.
    """
    check_count(launch.gpus)
    if not anew:
        _say_published(launch, say)
    check_gpus(launch.gpus)
    run_uri = f"{launch.checkpoint.uri.rstrip('/')}/{launch.run_key}"
    run = RunStore(open_store(run_uri, launch.storage))
    source = open_source(launch.data.uri, launch.storage)
    plan = None if anew else run.plan()
    statistics = run.statistics() if plan else None
    if plan is None:
        plan = make_plan(source, launch, created_at=datetime.now(UTC), bundle_name=NO_BUNDLE)
    for line in about_plan(plan):
        say(line)
    reading, statistics, sample = _read(plan, launch, source, statistics)
    with _said_of_the_sample(plan, reading, None if statistics else sample):
        if statistics:
            counts, notes = exact_counts(plan, launch, statistics), statistics.notes
        else:
            assert sample is not None
            counts, notes = estimated_counts(plan, launch, sample), sample.notes
        for line in (
            *about_counts(plan, launch, counts, reading=reading),
            *about_notes((*plan.notes, *notes)),
        ):
            say(line)
        counts.memory.shares(budget_of(launch.training))
    of_what = "in the sample" if counts.is_estimate else "of this data"
    say(f"verdict    nothing {of_what} keeps a run from training")


def _read(
    plan: Plan, launch: Launch, source: Source, statistics: Statistics | None
) -> tuple[Reading, Statistics | None, Sample | None]:
    """Returns what reading took, and what it gave: the run's statistics, or a sample."""
    sample = None
    objects = plan.objects[: plan.split.validation_end]
    shares = SurveyShares.of(plan, budget_of(launch.training))
    began = time.monotonic()
    with Fetcher(source, max_bytes=shares.fetch_bytes, slice_bytes=shares.slice_bytes) as fetcher:
        if statistics is None and is_quick(plan):
            statistics = whole(plan, launch, fetcher, decode_bytes=shares.decode_bytes)
        else:
            sample = sample_of(plan, launch, fetcher, decode_bytes=shares.decode_bytes)
            objects = sample.read
    reading = Reading(
        objects=len({pinned.key for pinned in objects}),
        bytes=num_bytes(objects),
        seconds=time.monotonic() - began,
    )
    return reading, statistics, sample


def _say_published(launch: Launch, say: Say) -> None:
    record = find_published(open_store(launch.output.uri, launch.storage), launch.run_key)
    if record:
        say(
            f"published  {launch.output.uri}/{record.bundle}: `argus train` would find it and end "
            "at once; --fresh trains anew"
        )


@contextmanager
def _said_of_the_sample(plan: Plan, reading: Reading, sample: Sample | None) -> Iterator[None]:
    """Says of a refusal that it is an estimate."""
    try:
        yield
    except (ConfigurationError, DataError) as error:
        if sample is None:
            raise
        raise type(error)(
            f"{error} (an estimate: {reading.objects} of {len(plan.files())} objects were read)"
        ) from error
