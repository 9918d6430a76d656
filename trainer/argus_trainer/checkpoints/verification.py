"""Whether a saved state is whole and belongs to its run: digests alone, without torch."""

import hashlib
from dataclasses import dataclass

from argus_contract import layout
from argus_contract.layout import StepId
from argus_contract.ledger import Final, StepManifest
from argus_trainer.errors import ConfigurationError, DataError, ObjectNotFound
from argus_trainer.storage.records import read
from argus_trainer.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Digests:
    """What a state was trained on: SHA-256 of the objects as they stand in the bucket.

    Of the stored bytes, not of a record that was read: a later version may read a record with
    a field more than it was written with.
    """

    plan_digest: str
    statistics_digest: str
    configuration_digest: str


def read_manifest(store: Store, step_id: StepId) -> StepManifest:
    """Returns the manifest of a state.

    Raises ObjectNotFound, DataError for a damaged one, ConfigurationError for one of another
    contract version.
    """
    manifest = read(store, step_id.manifest, StepManifest)
    if manifest.id != step_id or manifest.tensors.key != step_id.tensors:
        raise DataError(
            f"{store.uri}/{step_id.manifest} is the manifest of another state, {manifest.id}"
        )
    return manifest


def read_tensors(store: Store, manifest: StepManifest) -> bytes:
    """Returns the tensors of a state as they were saved. Raises ObjectNotFound, DataError."""
    data = store.get(manifest.tensors.key)
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.tensors.sha256:
        raise DataError(
            f"{store.uri}/{manifest.tensors.key} is damaged: SHA-256 {digest} of {len(data)} "
            f"bytes, the manifest says {manifest.tensors.sha256} of {manifest.tensors.size}"
        )
    return data


def refuse_another(final: Final, manifest: bytes, uri: str) -> None:
    """Raises DataError when `manifest` is not the one that the final record of a run names."""
    if hashlib.sha256(manifest).hexdigest() != final.manifest_sha256:
        raise DataError(
            f"{uri}/{final.id.manifest} is not the manifest that {layout.FINAL} names: create the "
            "run again with another runToken"
        )


def refuse_foreign(manifest: StepManifest, ours: Digests, address: str) -> None:
    """Raises ConfigurationError for a state of another plan, statistics or configuration."""
    for field in ("plan_digest", "statistics_digest", "configuration_digest"):
        theirs, wanted = getattr(manifest, field), getattr(ours, field)
        if theirs != wanted:
            raise ConfigurationError(
                f"{address} belongs to another run: its {field} is {theirs} and this run's is "
                f"{wanted}; start a new run with another runToken"
            )


def final_state_stands(store: Store) -> bool:
    """Returns whether the state that `final.json` names can still be read, to its digests."""
    try:
        final = read(store, layout.FINAL, Final)
        refuse_another(final, store.get(final.id.manifest), store.uri)
        read_tensors(store, read_manifest(store, final.id))
    except (DataError, ConfigurationError, ObjectNotFound):
        return False
    return True
