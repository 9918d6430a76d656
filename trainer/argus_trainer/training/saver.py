"""Saving beside the training: one upload at a time, in one thread.

The training hands over a snapshot (on the host, nothing shared) and goes on; serialising,
checking and uploading are the thread's. A store that is away is no reason to stop: the training
goes on and offers newer snapshots, until the outage has lasted longer than is tolerated. Any
other error surfaces in the training thread at its next step.

`save_now` waits: for the end of a training and for a stop. It is called by the training thread,
or by the signal thread when the training thread is stuck; a lock makes one of them second, and
it finds the work done.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from argus_contract.ledger import StepManifest
from argus_trainer.errors import StorageUnavailable
from argus_trainer.training.state import Snapshot

Save = Callable[[Snapshot], StepManifest]
"""Makes a snapshot durable. Raises StorageError or SupersededError."""

LONG_SECONDS = 15.0
"""An upload that takes longer is told to people."""


def _nothing(*_: object) -> None:
    return None


class Saver:
    """Knows the newest durable state and the newest snapshot."""

    def __init__(
        self,
        save: Save,
        *,
        durable: StepManifest | None,
        tolerance_seconds: float = 0.0,
        tell: Callable[[str | None], None] = _nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell` is told at each `collect` what keeps states from becoming durable, or None."""
        self._save = save
        self._durable = durable
        self._tolerance_seconds = tolerance_seconds
        self._tell = tell
        self._clock = clock
        self._kept: Snapshot | None = None
        self._upload: Future[StepManifest] | None = None
        self._began = 0.0
        self._failing_since: float | None = None
        self._failure: StorageUnavailable | None = None
        self._cpu_seconds = 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saver")
        self._one_at_a_time = threading.Lock()

    @property
    def durable(self) -> StepManifest | None:
        """The newest state that survives this process."""
        return self._durable

    @property
    def is_busy(self) -> bool:
        return self._upload is not None

    @property
    def is_failing(self) -> bool:
        """Whether the last upload ended because the store was away."""
        return self._failing_since is not None

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the newest upload took from the training, in its thread."""
        return self._cpu_seconds

    def collect(self) -> StepManifest | None:
        """Returns the manifest of an upload that has ended well since the last call.

        Raises what the upload raised, StorageUnavailable only once it is no longer tolerated.
        """
        manifest = self._ended()
        self._tell(self.trouble())
        return manifest

    def trouble(self) -> str | None:
        """Returns in a sentence what keeps states from becoming durable, or None."""
        now = self._clock()
        newest = f"step {self._durable.id.step}" if self._durable else "none yet"
        if self._failing_since is not None:
            return (
                f"No state could be saved for {now - self._failing_since:.0f} s "
                f"({self._failure}). Training goes on and ends with exit 74 after "
                f"{self._tolerance_seconds:.0f} s; newest durable state: {newest}."
            )
        if self._upload is not None and now - self._began > LONG_SECONDS:
            return (
                f"The store has not taken a state for {now - self._began:.0f} s. Training goes "
                f"on; newest durable state: {newest}."
            )
        return None

    def start(self, snapshot: Snapshot) -> None:
        """Uploads in the background. Only while not busy."""
        self._kept = snapshot
        self._began = self._clock()
        self._upload = self._thread.submit(self._upload_and_measure, snapshot)

    def keep(self, snapshot: Snapshot) -> None:
        """Remembers a snapshot for `save_kept`, without saving it."""
        self._kept = snapshot

    def save_now(self, snapshot: Snapshot) -> StepManifest:
        """Saves and waits; at once if that very step is durable already. Tries once."""
        self._kept = snapshot
        return self._make_durable(snapshot)

    def save_last(self, snapshot: Snapshot, wait: Callable[[], None]) -> StepManifest:
        """Saves and waits, through an outage that is tolerated; `wait` passes the time to the
        next try and may raise.
        """
        began = self._clock()
        while True:
            try:
                return self.save_now(snapshot)
            except StorageUnavailable:
                since = began if self._failing_since is None else self._failing_since
                if self._clock() - since >= self._tolerance_seconds:
                    raise
            wait()

    def save_kept(self) -> StepManifest | None:
        """Saves the newest snapshot there is, as `save_now` does."""
        return self._make_durable(self._kept) if self._kept else self._durable

    def close(self) -> None:
        """Waits for an upload on its way; its error, if any, no longer matters."""
        self._thread.shutdown(wait=True)

    def _ended(self) -> StepManifest | None:
        if self._upload is None or not self._upload.done():
            return None
        upload, self._upload = self._upload, None
        try:
            manifest = upload.result()
        except StorageUnavailable as error:
            self._failed(error)
            return None
        self._failing_since = self._failure = None
        return manifest

    def _upload_and_measure(self, snapshot: Snapshot) -> StepManifest:
        began = time.thread_time()
        manifest = self._make_durable(snapshot)
        self._cpu_seconds = time.thread_time() - began
        return manifest

    def _failed(self, error: StorageUnavailable) -> None:
        if self._failing_since is None:
            self._failing_since = self._began
        self._failure = error
        outage_seconds = self._clock() - self._failing_since
        if outage_seconds >= self._tolerance_seconds:
            raise StorageUnavailable(
                f"no state could be saved for {outage_seconds:.0f} s: {error}"
            ) from error

    def _make_durable(self, snapshot: Snapshot) -> StepManifest:
        with self._one_at_a_time:
            durable = self._durable
            if (
                durable is None
                or durable.id.step < snapshot.state.step
                or _is_end(snapshot, durable)
            ):
                snapshot.refuse_broken()
                durable = self._durable = self._save(snapshot)
            return durable


def _is_end(snapshot: Snapshot, durable: StepManifest) -> bool:
    """Whether the snapshot says at the same step that training has ended, and `durable` not."""
    return (
        durable.id.step == snapshot.state.step
        and snapshot.state.finish is not None
        and not durable.state.get("finish")
    )
