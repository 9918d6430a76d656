"""Saved states: written whole, verified when read, removed only behind a newer one.

Tensors go first and the manifest with their digest second: a state counts once its manifest
stands, so that no reader ever meets half of one. The valid state with the highest
(claim, step) is the state of the run. Price: each save is read back once before older states
are removed (a state has about 15 MB).
"""

import hashlib
import time
from collections.abc import Callable
from datetime import datetime

import safetensors
import safetensors.torch
import structlog
from torch import Tensor

from argus_contract import layout
from argus_contract.digests import wire_bytes
from argus_contract.layout import StepId
from argus_contract.ledger import Claim, Final, StepManifest, TensorFile
from argus_trainer.checkpoints.claims import Claims
from argus_trainer.checkpoints.state import LoadedState, Maker, SnapshotToSave
from argus_trainer.checkpoints.verification import (
    Digests,
    read_manifest,
    read_tensors,
    refuse_another,
    refuse_foreign,
)
from argus_trainer.errors import (
    DataError,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    SupersededError,
)
from argus_trainer.storage.records import read, write_new
from argus_trainer.storage.store import Store

Say = Callable[[str], None]

_log = structlog.get_logger(__name__)


class Steps:
    """States of the run whose store this is. One thread saves at a time."""

    def __init__(
        self,
        store: Store,
        claims: Claims,
        digests: Digests,
        *,
        maker: Maker,
        keep_last: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._claims = claims
        self._digests = digests
        self._maker = maker
        self._keep_last = keep_last
        self._clock = clock

    def newest(self, passed_over: Say) -> LoadedState | None:
        """Returns the highest valid state, or None when there is none.

        `passed_over` is told of each higher one that is not valid. Raises ConfigurationError
        when a state is of another contract version or another run: passing it over would
        silently train the same steps again.
        """
        while True:
            ids = self._ids()
            reasons: list[str] = []
            has_vanished = False
            loaded = None
            for step_id in reversed(ids):
                try:
                    loaded = self._load(step_id)
                    break
                except (DataError, ObjectNotFound) as error:
                    has_vanished |= isinstance(error, ObjectNotFound)
                    reasons.append(str(error))
            # A predecessor that still saves may have removed what was listed, behind states
            # that are newer than any of these.
            if has_vanished and self._ids() != ids:
                continue
            for reason in reasons:
                passed_over(reason)
            return loaded

    def save(self, claim: Claim, snapshot: SnapshotToSave) -> StepManifest:
        """Makes a snapshot durable, then removes states that nobody needs any more.

        Raises SupersededError, before anything is written, when a newer claim owns the run;
        ObjectExists when the same step was saved with another content.
        """
        self._refuse_superseded(claim)
        began = time.monotonic()
        step_id = StepId(claim=claim.number, step=snapshot.step)
        tensors = safetensors.torch.save(dict(snapshot.tensors))
        digest = hashlib.sha256(tensors).hexdigest()
        self._store.put_new(step_id.tensors, tensors)
        manifest = StepManifest(
            id=step_id,
            saved_at=self._clock(),
            save_seconds=round(time.monotonic() - began, 3),
            tensors=TensorFile(key=step_id.tensors, size=len(tensors), sha256=digest),
            plan_digest=self._digests.plan_digest,
            statistics_digest=self._digests.statistics_digest,
            configuration_digest=self._digests.configuration_digest,
            state=snapshot.state,
            versions=self._maker.versions,
            ends_training=snapshot.ends_training,
            inexact_reason=self._maker.inexact_reason(),
        )
        try:
            write_new(self._store, step_id.manifest, manifest)
        except ObjectExists:
            stored = read(self._store, step_id.manifest, StepManifest)
            if stored.tensors != manifest.tensors or stored.state != manifest.state:
                raise
            manifest = stored
        self._remove_old(claim, manifest)
        return manifest

    def finalize(
        self,
        claim: Claim,
        step_id: StepId,
        *,
        run_key: str,
        bundle_name: str,
        windows_digest: str,
        inexact_reason: str | None = None,
    ) -> Final:
        """Names the one state that is published and returns the record that stands.

        `inexact_reason` says why the plan alone would not lead to it. If another attempt was
        first, its choice is the run's. Raises SupersededError.
        """
        self._refuse_superseded(claim)
        final = Final(
            run_key=run_key,
            id=step_id,
            manifest_sha256=hashlib.sha256(self._store.get(step_id.manifest)).hexdigest(),
            bundle_name=bundle_name,
            windows_digest=windows_digest,
            inexact_reason=inexact_reason,
        )
        try:
            write_new(self._store, layout.FINAL, final)
        except ObjectExists:
            _log.info("the final state was named by another attempt")
        return read(self._store, layout.FINAL, Final)

    def final(self) -> Final | None:
        """Returns the record of the final state, or None while the run is in training."""
        try:
            return read(self._store, layout.FINAL, Final)
        except ObjectNotFound:
            return None

    def load_final(self, final: Final) -> LoadedState:
        """Returns the final state. Raises DataError or ObjectNotFound if it was damaged."""
        refuse_another(final, self._store.get(final.id.manifest), self._store.uri)
        return self._load(final.id)

    def remove_all(self) -> None:
        """Removes all states after publication, best effort; claims and plan stay."""
        try:
            self._remove([entry.key for entry in self._store.list_objects(layout.STEPS)])
        except StorageError as error:
            _log.warning("states stay behind", reason=str(error))

    def _load(self, step_id: StepId) -> LoadedState:
        manifest = read_manifest(self._store, step_id)
        refuse_foreign(manifest, self._digests, f"{self._store.uri}/{step_id.manifest}")
        return LoadedState(
            id=step_id,
            saved_at=manifest.saved_at,
            tensors=self._tensors(manifest),
            state=manifest.state,
            manifest=manifest,
        )

    def _tensors(self, manifest: StepManifest) -> dict[str, Tensor]:
        try:
            return safetensors.torch.load(read_tensors(self._store, manifest))
        except safetensors.SafetensorError as error:
            address = f"{self._store.uri}/{manifest.tensors.key}"
            raise DataError(f"{address} cannot be read: {error}") from error

    def _refuse_superseded(self, claim: Claim) -> None:
        if self._claims.superseded(claim):
            raise SupersededError(
                f"claim {claim.number} of {self._store.uri} was superseded: another trainer "
                "goes on with the run, this one stops without writing"
            )

    def _ids(self) -> list[StepId]:
        """Returns the ids of all manifests, lowest first."""
        found = (StepId.from_manifest(e.key) for e in self._store.list_objects(layout.STEPS))
        return sorted((i for i in found if i), key=StepId.order)

    def _remove_old(self, claim: Claim, manifest: StepManifest) -> None:
        """Removes what lies behind the newest states, once the new one is proved readable.

        The new state is durable already, so nothing here may end the run.
        """
        try:
            proved = read(self._store, manifest.id.manifest, StepManifest)
            self._tensors(proved)
            if wire_bytes(proved) == wire_bytes(manifest) and not self._claims.superseded(claim):
                self._remove(self._outdated(manifest.id))
        except (DataError, StorageError) as error:
            _log.warning("older states stay behind", reason=str(error))

    def _outdated(self, newest: StepId) -> list[str]:
        """Returns the keys at or below `newest` that neither resuming nor publishing needs."""
        final = self.final()
        ids = {
            entry.key: step_id
            for entry in self._store.list_objects(layout.STEPS)
            if (step_id := _id_of(entry.key)) and step_id.order() <= newest.order()
        }
        counted = sorted((i for key, i in ids.items() if key == i.manifest), key=StepId.order)
        needed = {*counted[-self._keep_last :], final and final.id}
        # An attempt that was overtaken may be about to name its last state as the final one.
        needed |= {i for i in counted if i not in needed and self._ends_training(i)}
        return [key for key, step_id in ids.items() if step_id not in needed]

    def _ends_training(self, step_id: StepId) -> bool:
        try:
            return read_manifest(self._store, step_id).ends_training
        except (DataError, ObjectNotFound):
            return False

    def _remove(self, keys: list[str]) -> None:
        """Deletes manifests before tensors: none may ever stand alone."""
        self._store.delete([key for key in keys if key.endswith(".json")])
        self._store.delete([key for key in keys if not key.endswith(".json")])


def _id_of(key: str) -> StepId | None:
    """Returns the state that a manifest or its tensors belong to."""
    return StepId.from_manifest(key.removesuffix(".json").removesuffix(".safetensors") + ".json")
