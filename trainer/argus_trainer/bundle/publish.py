"""The append-only list of published bundles: names, records, and which model is current.

The record is what makes a bundle public, so the bundle is read back and compared with its
manifest before. The highest record with `current` true is the current model; a bundle whose
data ends before the current model's is recorded, but as superseded. Needs no torch: a run
that was published before finds so in a second.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from argus_contract import layout
from argus_contract.digests import wire_bytes
from argus_contract.ledger import BundleManifest, BundleReservation, PublishedRecord
from argus_contract.status import Artifact, PublishedState
from argus_trainer.errors import DataError, ObjectExists, ObjectNotFound
from argus_trainer.storage.records import parse, read, write_new
from argus_trainer.storage.store import Store

NUM_READS_AT_ONCE = 16


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
    manifest, digest = _verified(output, bundle)
    while True:
        records = _records(output)
        record = _of_run(records, manifest.run_key)
        if record is not None:
            break
        current = _current(records)
        record = PublishedRecord(
            number=max((r.number for r in records), default=0) + 1,
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
            continue  # another run published first; it may be the newer model
        break
    mend_current(output)
    return record


def mend_current(output: Store) -> None:
    """Makes `CURRENT` the copy of the current record, where it is not: whoever published it may
    have died in between, or a slower publisher written an older one over it."""
    written: PublishedRecord | None = None
    while (current := _current(_records(output))) is not None and current != written:
        wanted = wire_bytes(current)
        try:
            found = output.get(layout.CURRENT)
        except ObjectNotFound:
            found = b""
        if found == wanted:
            return
        output.put(layout.CURRENT, wanted)
        written = current


def find_published(output: Store, run_key: str) -> PublishedRecord | None:
    """Returns the record of a run that was published, or None."""
    return _of_run(_records(output), run_key)


def published_runs(output: Store) -> dict[str, PublishedRecord]:
    """Returns the record of each run that was published, by run key."""
    return {record.run_key: record for record in reversed(_records(output))}


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


def _verified(output: Store, bundle: str) -> tuple[BundleManifest, str]:
    """Returns the manifest of a bundle and its digest after reading every file back."""
    key = f"{bundle}/{layout.BUNDLE_MANIFEST}"
    data = output.get(key)
    manifest = parse(data, f"{output.uri}/{key}", BundleManifest)
    for file in manifest.files:
        found = hashlib.sha256(output.get(f"{bundle}/{file.name}")).hexdigest()
        if found != file.sha256:
            raise DataError(
                f"{output.uri}/{bundle}/{file.name} is damaged: its SHA-256 is {found} and the "
                f"manifest says {file.sha256}; remove {bundle} and let the run publish again"
            )
    return manifest, hashlib.sha256(data).hexdigest()


def _records(output: Store) -> list[PublishedRecord]:
    """Returns all records, lowest number first."""
    keys = [
        entry.key
        for entry in output.list_objects(layout.PUBLISHED)
        if layout.published_number(entry.key) is not None
    ]
    with ThreadPoolExecutor(NUM_READS_AT_ONCE) as threads:
        records = threads.map(lambda key: read(output, key, PublishedRecord), keys)
        return sorted(records, key=lambda record: record.number)


def _of_run(records: list[PublishedRecord], run_key: str) -> PublishedRecord | None:
    return next((record for record in records if record.run_key == run_key), None)


def _current(records: list[PublishedRecord]) -> PublishedRecord | None:
    return next((record for record in reversed(records) if record.current), None)
