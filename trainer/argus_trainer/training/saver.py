"""Saving beside the training: one upload at a time, in one thread.

The training hands over a snapshot (on the host, nothing shared) and goes on. An error of the
upload surfaces in the training thread at its next step. `save_now` waits: for the end of a
training and for a stop. It is called by the training thread, or by the signal thread when
the training thread is stuck; a lock makes one of them second, and it finds the work done.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from argus_contract.ledger import StepManifest
from argus_trainer.training.state import Snapshot

Save = Callable[[Snapshot], StepManifest]
"""Makes a snapshot durable. Raises StorageError or SupersededError."""


class Saver:
    """Knows the newest durable state and the newest snapshot."""

    def __init__(self, save: Save, *, durable: StepManifest | None) -> None:
        self._save = save
        self._durable = durable
        self._kept: Snapshot | None = None
        self._upload: Future[StepManifest] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saver")
        self._one_at_a_time = threading.Lock()

    @property
    def durable(self) -> StepManifest | None:
        """The newest state that survives this process."""
        return self._durable

    def collect(self) -> StepManifest | None:
        """Returns the manifest of an upload that has ended since the last call.

        Raises what the upload raised.
        """
        if self._upload is None or not self._upload.done():
            return None
        upload, self._upload = self._upload, None
        return upload.result()

    @property
    def is_busy(self) -> bool:
        return self._upload is not None

    def start(self, snapshot: Snapshot) -> None:
        """Uploads in the background. Only while not busy."""
        self._kept = snapshot
        self._upload = self._thread.submit(self._make_durable, snapshot)

    def keep(self, snapshot: Snapshot) -> None:
        """Remembers a snapshot for `save_kept`, without saving it."""
        self._kept = snapshot

    def save_now(self, snapshot: Snapshot) -> StepManifest:
        """Saves and waits; at once if that very step is durable already."""
        self._kept = snapshot
        return self._make_durable(snapshot)

    def save_kept(self) -> StepManifest | None:
        """Saves the newest snapshot there is, as `save_now` does."""
        return self._make_durable(self._kept) if self._kept else self._durable

    def close(self) -> None:
        """Waits for an upload on its way; its error, if any, no longer matters."""
        self._thread.shutdown(wait=True)

    def _make_durable(self, snapshot: Snapshot) -> StepManifest:
        with self._one_at_a_time:
            durable = self._durable
            if (
                durable is None
                or durable.id.step < snapshot.state.step
                or _is_end(snapshot, durable)
            ):
                durable = self._durable = self._save(snapshot)
            return durable


def _is_end(snapshot: Snapshot, durable: StepManifest) -> bool:
    """Whether the snapshot says at the same step that training has ended, and `durable` not."""
    return (
        durable.id.step == snapshot.state.step
        and snapshot.state.finish is not None
        and not durable.state.get("finish")
    )
