"""Whether the data has what a run is to predict, from the schema of the first chunk alone."""

from argus_contract.launch import Launch
from argus_contract.plan import Plan
from argus_trainer.data.decode import ChunkFile
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.rules import Rules
from argus_trainer.data.schema import measured_inputs
from argus_trainer.storage.store import Source


def check_targets(source: Source, plan: Plan, launch: Launch) -> None:
    """Raises DataError for a target that is no numeric column, and for a broken first chunk."""
    pinned = plan.objects[0]
    with Fetcher(source, max_bytes=0) as fetcher:
        content = fetcher.fetch(pinned)
    chunk = ChunkFile(f"{source.uri}/{pinned.key}", content, Rules.of(launch.data))
    measured_inputs(chunk.present().numeric, tuple(target.name for target in launch.model.targets))
