"""Publishing: a name for the bundle, a record that makes it public.

The record is what makes a bundle public, so the bundle is read back and compared with its
manifest before. The highest record with `current` true is the current model; a bundle whose
data ends before the current model's is recorded, but as superseded. Needs no torch.
"""

from datetime import datetime, timedelta

from argus_contract import layout
from argus_contract.ledger import BundleManifest, BundleReservation, PublishedRecord
from argus_contract.status import Artifact, PublishedState
from argus_trainer.bundle.records import Records, mend_current
from argus_trainer.bundle.whole import read_whole
from argus_trainer.errors import ObjectExists, ObjectNotFound
from argus_trainer.storage.records import read, write_new
from argus_trainer.storage.store import Store


def reserve_name(output: Store, run_key: str, now: datetime) -> str:
    """Returns a bundle name that no other run has: `now`, or the next free second after it."""
    reservation = BundleReservation(run_key=run_key)
    while True:
        name = f"tft_model_{now:%Y%m%d_%H%M%S}"
        try:
            write_new(output, layout.bundle_name_reservation(name), reservation)
        except ObjectExists:
            now += timedelta(seconds=1)
        else:
            return name


def publish(output: Store, bundle: str, *, who: str) -> PublishedRecord:
    """Makes a written bundle public and returns its record; a second call finds the first's.

    `who` is namespace/name of the run. Raises DataError when the bundle is not what its
    manifest says.
    """
    manifest, digest = read_whole(output, bundle)
    records = Records(output)
    while True:
        record = records.of_run(manifest.run_key)
        # One of other bytes was damaged, and written again by another version.
        if record is not None and record.digest == digest:
            break
        current = records.current()
        record = PublishedRecord(
            number=records.next_number,
            bundle=bundle,
            digest=digest,
            window_end=manifest.window_end,
            run_key=manifest.run_key,
            who=who,
            current=current is None or manifest.window_end >= current.window_end,
        )
        try:
            write_new(output, layout.published(record.number), record)
        except ObjectExists:
            # Another run published first; it may be the newer model.
            records.look()
            continue
        break
    mend_current(output)
    return record


def artifact_of(output: Store, record: PublishedRecord) -> Artifact:
    """Returns what the status shows of a published bundle; a pruned one has no files."""
    try:
        manifest = read(output, f"{record.bundle}/{layout.BUNDLE_MANIFEST}", BundleManifest)
    except ObjectNotFound:
        files: tuple[str, ...] = ()
    else:
        files = (*(file.name for file in manifest.files), layout.BUNDLE_MANIFEST)
    return Artifact(
        uri=f"{output.uri}/{record.bundle}",
        digest=record.digest,
        files=files,
        published=PublishedState.TRUE if record.current else PublishedState.SUPERSEDED,
    )
