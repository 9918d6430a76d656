"""Whether a bundle is what its manifest says, file by file. Needs no torch."""

import hashlib

from argus_contract import layout
from argus_contract.ledger import BundleManifest, PublishedRecord
from argus_trainer.errors import DataError, ObjectNotFound
from argus_trainer.storage.records import parse
from argus_trainer.storage.store import Store


def read_whole(output: Store, bundle: str) -> tuple[BundleManifest, str]:
    """Returns the manifest of a bundle and its digest after reading every file back.

    Raises ObjectNotFound, and DataError when a file is not what the manifest says.
    """
    key = f"{bundle}/{layout.BUNDLE_MANIFEST}"
    data = output.get(key)
    manifest = parse(data, f"{output.uri}/{key}", BundleManifest)
    for file in manifest.files:
        found = hashlib.sha256(output.get(f"{bundle}/{file.name}")).hexdigest()
        if found != file.sha256:
            raise DataError(
                f"{output.uri}/{bundle}/{file.name} is damaged: its SHA-256 is {found} and the "
                f"manifest says {file.sha256}"
            )
    return manifest, hashlib.sha256(data).hexdigest()


def damage_of(output: Store, record: PublishedRecord) -> str | None:
    """Returns what is wrong with a published bundle, None for a whole one.

    One without a single file was pruned, which is no damage.
    """
    if not output.list_objects(f"{record.bundle}/"):
        return None
    try:
        _, digest = read_whole(output, record.bundle)
    except (DataError, ObjectNotFound) as error:
        return str(error)
    if digest != record.digest:
        return (
            f"{output.uri}/{record.bundle}/{layout.BUNDLE_MANIFEST} is another one than was "
            f"published: its SHA-256 is {digest} and {layout.published(record.number)} says "
            f"{record.digest}"
        )
    return None
