"""What an earlier process of the same run left: numbers and lineage, without torch."""

from argus_contract import layout
from argus_contract.ledger import BundleManifest, Final, PublishedRecord
from argus_contract.status import Lineage, Metric
from argus_trainer.errors import ObjectNotFound
from argus_trainer.process.banner import decimal
from argus_trainer.storage.records import read
from argus_trainer.storage.store import Store


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
