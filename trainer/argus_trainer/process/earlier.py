"""What an earlier process of the same run left: a bundle, numbers and lineage, without torch."""

from enum import Enum

from argus_contract import layout
from argus_contract.launch import Launch
from argus_contract.ledger import BundleManifest, Final, PublishedRecord
from argus_contract.spec import ExistingBundlePolicy
from argus_contract.status import Lineage, Metric
from argus_trainer.bundle.publish import artifact_of
from argus_trainer.bundle.records import find_published, mend_current
from argus_trainer.bundle.whole import damage_of
from argus_trainer.checkpoints.claims import Claims
from argus_trainer.checkpoints.verification import final_state_stands
from argus_trainer.errors import ArgusError, ConfigurationError, DataError, ObjectNotFound
from argus_trainer.process.banner import decimal
from argus_trainer.process.report import Report
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.process.traces import with_traces
from argus_trainer.storage.records import read
from argus_trainer.storage.store import Store


class Found(Enum):
    """What stands of a run's bundle."""

    NOTHING = 0
    DAMAGED = 1
    """It was published, and is to be written again."""
    WHOLE = 2
    """Or pruned after publication, which is as good."""


def find_bundle(
    launch: Launch,
    output: Store,
    run_store: Store,
    claims: Claims,
    report: Report,
    surroundings: Surroundings,
) -> Found:
    """Says whether this very run has published, and reports all that is known of it then.

    Raises ConfigurationError when it has and `output.existingBundlePolicy` is Fail, and DataError
    when its bundle or its record is damaged for good.
    """
    record = find_published(output, launch.run_key, surroundings.say)
    if record is None:
        if _has_ended(run_store) and not final_state_stands(run_store):
            raise DataError(
                f"{run_store.uri}/{layout.FINAL} says that this run came to its end, its state is "
                f"gone, and no readable record in {output.uri}/{layout.PUBLISHED} names it: "
                "restore that record or the state, or start a new run with another runToken"
            )
        return Found.NOTHING
    if launch.output.existing_bundle_policy is not ExistingBundlePolicy.FAIL and (
        damage := damage_of(output, record)
    ):
        if not final_state_stands(run_store):
            raise DataError(
                f"{damage}; the state that it was made of was removed after publication: restore "
                "the bundle from a copy, or start a new run with another runToken"
            )
        surroundings.say(f"[RUN] {damage}; it is written again from {layout.FINAL}")
        return Found.DAMAGED
    try:
        mend_current(output)
    except ArgusError as error:
        surroundings.say(f"[RUN] CURRENT is not brought up to date: {error}")
    report.published(artifact_of(output, record), already=True)
    report.metrics(metrics_of(output, run_store, record))
    if lineage := lineage_of(run_store):
        report.lineage(lineage)
    attempts = with_traces(claims.attempts(), run_store)
    report.ledger(attempts, claims.disruptions(launch.gpus))
    if launch.output.existing_bundle_policy is ExistingBundlePolicy.FAIL:
        raise ConfigurationError(
            f"AlreadyPublished: this very run published {output.uri}/{record.bundle}; start "
            "a new run with another runToken, or use output.existingBundlePolicy Reuse"
        )
    surroundings.say(
        f"[RUN] Already published: {output.uri}/{record.bundle}. To train again, "
        + surroundings.wording("start a new run with another runToken")
    )
    return Found.WHOLE


def _has_ended(run_store: Store) -> bool:
    return any(entry.key == layout.FINAL for entry in run_store.list_objects(layout.FINAL))


def lineage_of(run_store: Store) -> Lineage | None:
    """Returns whether the published model is exact; None when that record was removed."""
    try:
        reason = read(run_store, layout.FINAL, Final).inexact_reason
    except ObjectNotFound:
        return None
    return Lineage.of(reason)


def metrics_of(output: Store, run_store: Store, record: PublishedRecord) -> tuple[Metric, ...]:
    """Returns the metrics of a published bundle; none when it or its state was removed."""
    try:
        bundle = read(output, f"{record.bundle}/{layout.BUNDLE_MANIFEST}", BundleManifest)
        step = read(run_store, layout.FINAL, Final).id.step
    except ObjectNotFound:
        return ()
    return tuple(
        Metric(
            name=name,
            value=decimal(float(value)),
            step=step,
            best=decimal(float(value)) if name == "val_loss" else None,
        )
        for name, value in bundle.metrics.items()
    )
