"""Whether the data has what a run is to predict, from the schema of the first chunk alone."""

from argus_contract.plan import Plan
from argus_contract.spec import ModelSpec
from argus_trainer.data.decode import ChunkFile
from argus_trainer.data.schema import measured_inputs
from argus_trainer.storage.store import Store


def check_targets(store: Store, plan: Plan, model: ModelSpec) -> None:
    """Raises DataError for a target that is no numeric column, and for a broken first chunk."""
    present = ChunkFile(store, plan.objects[0]).present()
    measured_inputs(present.numeric, tuple(target.name for target in model.targets))
