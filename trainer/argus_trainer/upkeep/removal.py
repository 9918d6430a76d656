"""Removes the prefix of a run, so that a crash half-way leaves a run that can go on, or a dead one.

The order is the whole idea. A final state that is gone would end every later attempt, so its
record goes first: then the run is one in training again. States go from the lowest on, so that
the newest stays until the last, and a manifest before its tensors. What is only true for this
plan goes before the plan. Claims go last, the highest at the very end: as long as anything stands
a zombie finds that it was overtaken, and a second `argus gc` finds how old the run is.
"""

from collections.abc import Iterator

from argus_contract import layout
from argus_contract.layout import StepId
from argus_trainer.storage.store import Store
from argus_trainer.upkeep.reports import RunReport


def remove_run(store: Store, run: RunReport) -> None:
    """Deletes all objects of a run. Raises StorageError; a second call goes on from there."""
    for keys in removal_order(run):
        store.delete(keys)


def removal_order(run: RunReport) -> Iterator[list[str]]:
    """Yields keys in groups: within a group the order is free, a group waits for the one before."""
    keys = {entry.key for entry in run.objects}
    manifests = sorted(filter(None, map(StepId.from_manifest, keys)), key=StepId.order)
    states = [key for key in keys if key.startswith(layout.STEPS)]
    claims = {key: found for key in keys if (found := layout.claim_number(key)) is not None}
    last = {layout.PLAN, layout.FINAL, *states, *claims}
    yield from ([key] for key in keys & {layout.FINAL})
    yield from ([step_id.manifest] for step_id in manifests)
    yield sorted(set(states) - {step_id.manifest for step_id in manifests})
    yield sorted(keys - last)
    yield from ([key] for key in keys & {layout.PLAN})
    # The end before its claim: a claim alone is one that a successor closes, but the end of a
    # number that is free again would be taken for that of whoever gets it.
    yield from ([key] for key in sorted(claims, key=lambda key: (claims[key][0], -claims[key][1])))
