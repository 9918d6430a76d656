"""`argus gc`: judges every run of a prefix and, if told so, removes those that are done with."""

from datetime import datetime, timedelta

from argus_contract import layout
from argus_contract.model import Model
from argus_trainer.storage.store import Store
from argus_trainer.upkeep.models import Models
from argus_trainer.upkeep.removal import remove_run
from argus_trainer.upkeep.reports import RunReport
from argus_trainer.upkeep.survey import OpenRun, survey, survey_run
from argus_trainer.upkeep.verdicts import Verdict, verdict_on


class Cleaned(Model):
    """One run: what is done with it, and why."""

    run_key: str
    remove: bool
    why: str
    num_objects: int
    size_bytes: int


class Cleaning(Model):
    """What `argus gc` did, or would do."""

    uri: str
    is_done: bool
    """False: a dry run, nothing was changed."""
    runs: tuple[Cleaned, ...]
    freed_bytes: int
    """Of the runs that are removed, and of `stats/` if that was asked for."""
    num_removed_objects: int


def clean(
    store: Store,
    open_run: OpenRun,
    *,
    only: str | None,
    models: Models | None,
    now: datetime,
    older_than: timedelta,
    statistics: bool,
    delete: bool,
) -> Cleaning:
    """Judges, and with `delete` removes, the runs below the checkpoint prefix `store`.

    `models` is None when nobody told where the models are. Before a published run is judged
    removable its bundle is read: a damaged one is written again from the run's state.
    """
    unknown = _unknown(models)

    def verdict(run: RunReport) -> Verdict:
        return verdict_on(run, unknown=unknown, now=now, older_than=older_than)

    def judged(run: RunReport) -> Cleaned:
        found = verdict(run)
        if models and run.published and found.remove:
            publication = models.publication_of(run.run_key, verify=True)
            found = verdict(run.model_copy(update={"published": publication}))
        return Cleaned(
            run_key=run.run_key,
            remove=found.remove,
            why=found.why,
            num_objects=run.num_objects,
            size_bytes=run.size_bytes,
        )

    report = survey(store, open_run, only=only, models=models, verify=False)
    runs: list[Cleaned] = []
    for run in report.runs:
        if not (delete and verdict(run).remove):
            runs.append(judged(run))
            continue
        # Minutes may have passed since the survey: a trainer may have started.
        own = open_run(run.run_key)
        current = survey_run(own, run.run_key, models=models, verify=False)
        cleaned = judged(current)
        if cleaned.remove:
            remove_run(own, current)
        runs.append(cleaned)
    removed = [run for run in runs if run.remove]
    freed, count = sum(r.size_bytes for r in removed), sum(r.num_objects for r in removed)
    if statistics:
        packs = store.list_objects(layout.RECORDS)
        freed, count = freed + sum(pack.size for pack in packs), count + len(packs)
        if delete:
            store.delete([pack.key for pack in packs])
    return Cleaning(
        uri=store.uri,
        is_done=delete,
        runs=tuple(runs),
        freed_bytes=freed,
        num_removed_objects=count,
    )


def _unknown(models: Models | None) -> str | None:
    """Returns why nobody can say that a run was never published; None: it can be said."""
    if models is None:
        return "name the models' prefix with --models"
    if models.faults:
        return f"a published record may be its own and cannot be read: {models.faults[0]}"
    return None
