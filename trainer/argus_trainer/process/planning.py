"""`argus plan`: what a run would do, before it does anything. Writes nothing, needs no torch.

A run that was begun shows its own plan and its own counts; another one is planned in memory.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from argus_contract.launch import Launch
from argus_trainer.checkpoints.run import RunStore
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.plan import make_plan
from argus_trainer.data.preview import preview
from argus_trainer.data.sample import sample_of
from argus_trainer.storage.open import open_source, open_store

NO_BUNDLE = "not reserved"


def show(launch: Launch, say: Callable[[str], None], *, anew: bool = False) -> None:
    """Says what the run would read, hold and take; `anew`: as if it was never begun.

    Raises what planning raises.
    """
    run_uri = f"{launch.checkpoint.uri.rstrip('/')}/{launch.run_key}"
    run = RunStore(open_store(run_uri, launch.storage))
    source = open_source(launch.data.uri, launch.storage)
    plan = None if anew else run.plan()
    statistics = run.statistics() if plan else None
    if plan is None:
        plan = make_plan(source, launch, created_at=datetime.now(UTC), bundle_name=NO_BUNDLE)
    # One object at a time: it is what the reading of one is measured on.
    with Fetcher(source, max_bytes=0) as fetcher:
        sample = sample_of(plan, launch, fetcher.fetch)
    for line in preview(plan, launch, sample=sample, statistics=statistics):
        say(line)
