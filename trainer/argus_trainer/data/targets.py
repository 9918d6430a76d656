"""Whether the data has what a run is to predict, from the schema of the first chunk alone."""

from argus_contract.launch import Launch
from argus_contract.plan import Plan
from argus_trainer.data.decode import ChunkFile, content_of
from argus_trainer.data.rules import Rules
from argus_trainer.data.schema import measured_inputs
from argus_trainer.storage.store import Store


def check_targets(store: Store, plan: Plan, launch: Launch) -> None:
    """Raises DataError for a target that is no numeric column, and for a broken first chunk."""
    pinned = plan.objects[0]
    content = content_of(store, pinned)
    chunk = ChunkFile(f"{store.uri}/{pinned.key}", content, Rules.of(launch.data))
    measured_inputs(chunk.present().numeric, tuple(target.name for target in launch.model.targets))
