"""Reads a checkpoint prefix: one listing, then the records of each run.

The same checks as a trainer's own before it goes on from a state (`checkpoints.verification`).
Price: verifying reads every state once, four at a time; without it only manifests are read.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from argus_contract import layout
from argus_contract.layout import StepId
from argus_contract.ledger import Claim, ClaimEnd, Final
from argus_contract.model import Model
from argus_contract.plan import Plan, Statistics
from argus_trainer.checkpoints.run import RunStore, lost_plan
from argus_trainer.checkpoints.verification import (
    Digests,
    read_manifest,
    read_tensors,
    refuse_another,
    refuse_foreign,
)
from argus_trainer.errors import ConfigurationError, DataError, ObjectNotFound
from argus_trainer.storage.records import read
from argus_trainer.storage.store import ObjectInfo, Store
from argus_trainer.upkeep.models import Models
from argus_trainer.upkeep.reports import (
    ClaimReport,
    PrefixReport,
    RecordFault,
    RunReport,
    StateReport,
    StoredObject,
)

M = TypeVar("M", bound=Model)
OpenRun = Callable[[str], Store]
"""Opens the store of a run by its key."""

NUM_STATES_AT_ONCE = 4
UNREADABLE = (DataError, ConfigurationError, ObjectNotFound)


def survey(
    store: Store,
    open_run: OpenRun,
    *,
    only: str | None,
    models: Models | None,
    verify: bool,
) -> PrefixReport:
    """Returns what stands below the checkpoint prefix `store`; `only` names a single run.

    `models` is None when nobody told where the models are. `verify` reads states and bundles.
    """
    objects: dict[str, list[ObjectInfo]] = defaultdict(list)
    for entry in store.list_objects(f"{only}/" if only else ""):
        folder = entry.key.partition("/")[0]
        objects[folder].append(entry)
    statistics = objects.pop(layout.RECORDS.rstrip("/"), [])
    runs = sorted(folder for folder in objects if layout.is_run(folder))
    return PrefixReport(
        uri=store.uri,
        runs=tuple(survey_run(open_run(key), key, models=models, verify=verify) for key in runs),
        statistics_bytes=sum(entry.size for entry in statistics),
        num_statistics=len(statistics),
        unreadable_publications=models.faults if models else (),
        num_unknown=sum(len(objects[folder]) for folder in objects.keys() - set(runs)),
    )


def survey_run(store: Store, run_key: str, *, models: Models | None, verify: bool) -> RunReport:
    """Returns what stands below the prefix of one run."""
    objects = store.list_objects()
    keys = {entry.key: entry.size for entry in objects}
    faults: list[RecordFault] = []

    def record(key: str, kind: type[M]) -> M | None:
        if key not in keys:
            return None
        try:
            return read(store, key, kind)
        except UNREADABLE as error:
            code = int(error.exit_code)
            faults.append(RecordFault(key=key, message=str(error), exit_code=code))
            return None

    plan = record(layout.PLAN, Plan)
    record(layout.STATISTICS, Statistics)
    claims = []
    for number, is_end in sorted(filter(None, map(layout.claim_number, keys))):
        if not is_end and (claim := record(layout.claim(number), Claim)):
            end = record(layout.claim_end(number), ClaimEnd)
            claims.append(ClaimReport(claim=claim, end=end))
    ids = sorted(filter(None, map(StepId.from_manifest, keys)), key=StepId.order)
    final = record(layout.FINAL, Final)
    digests = _digests(store, keys, plan) if ids and plan else None
    with ThreadPoolExecutor(NUM_STATES_AT_ONCE) as threads:
        states = threads.map(lambda i: _state(store, i, keys, digests, final, verify=verify), ids)
        return RunReport(
            run_key=run_key,
            uri=store.uri,
            planned_at=plan and plan.created_at,
            bundle_name=plan and plan.bundle_name,
            image=(plan and plan.image) or None,
            claims=tuple(claims),
            states=tuple(states),
            final=final,
            published=models and models.publication_of(run_key, verify=verify),
            faults=tuple(faults),
            lost_plan=lost_plan(store.uri, keys),
            has_statistics=layout.STATISTICS in keys,
            size_bytes=sum(keys.values()),
            num_objects=len(keys),
            objects=tuple(StoredObject(key=key, size=size) for key, size in keys.items()),
        )


def _digests(store: Store, keys: Mapping[str, int], plan: Plan) -> Digests:
    """Returns what states must belong to; statistics that are gone have no digest."""
    run = RunStore(store)
    return Digests(
        plan_digest=run.digest(layout.PLAN),
        statistics_digest=run.digest(layout.STATISTICS) if layout.STATISTICS in keys else "",
        configuration_digest=plan.configuration_digest,
    )


def _state(
    store: Store,
    step_id: StepId,
    keys: Mapping[str, int],
    digests: Digests | None,
    final: Final | None,
    *,
    verify: bool,
) -> StateReport:
    """Judges one state as a trainer would that looks for one to go on from."""
    report = StateReport(
        id=step_id, size_bytes=keys.get(step_id.tensors, 0), is_checked=False, fault=None
    )
    try:
        manifest = read_manifest(store, step_id)
        report = report.model_copy(update={"saved_at": manifest.saved_at})
        if digests is None:
            raise DataError(f"{store.uri}: there is no {layout.PLAN} that it belongs to")
        if not digests.statistics_digest:
            digests = replace(digests, statistics_digest=manifest.statistics_digest)
        refuse_foreign(manifest, digests, f"{store.uri}/{step_id.manifest}")
        if final and final.id == step_id:
            refuse_another(final, store.get(step_id.manifest), store.uri)
        if step_id.tensors not in keys:
            raise ObjectNotFound(f"storage: there is no such object: {step_id.tensors}")
        if verify:
            read_tensors(store, manifest)
            return report.model_copy(update={"is_checked": True})
    except UNREADABLE as error:
        ends_run = isinstance(error, ConfigurationError)
        return report.model_copy(
            update={"is_checked": True, "fault": str(error), "ends_run": ends_run}
        )
    return report
