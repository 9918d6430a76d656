"""What a person wants to read when the pod is gone: the log of this process and its curves.

Both grow, so they are written anew every minute, under the number of this process's claim: no
other process writes there. People read them; whoever closes the claim of a process that was killed
takes the time of the last line for its last sign of life. Best effort: a store that does not take
them ends no run.
"""

import threading
from typing import TYPE_CHECKING

from argus_contract import layout
from argus_contract.status import Attempt
from argus_trainer.checkpoints.signs import BEAT_SECONDS
from argus_trainer.errors import ArgusError
from argus_trainer.process.log import Log
from argus_trainer.storage.store import Store

if TYPE_CHECKING:
    # Needs torch, which a run that was published before never imports.
    from argus_trainer.process.curves import Curves


class Traces:
    """Uploads for one claim."""

    def __init__(self, store: Store, log: Log) -> None:
        self._store = store
        self._log = log
        self.curves: Curves | None = None
        """Set once there is a training."""
        self._size_of: dict[str, int] = {}
        self._one_at_a_time = threading.Lock()
        self._closed = threading.Event()

    def keep(self, number: int) -> None:
        """Uploads from now on until `close`; `number` is that of the claim."""
        threading.Thread(
            target=self._upload_on_and_on, args=(number,), name="traces", daemon=True
        ).start()

    def upload(self, number: int) -> None:
        """Uploads the log, and curves that have grown."""
        with self._one_at_a_time:
            try:
                self._upload_curves(layout.claim_tensorboard(number))
                self._upload_log(layout.claim_log(number))
            # A full disk or an outage: the run goes on, and the next upload brings all.
            except (ArgusError, OSError) as error:
                self._log.say(f"[RUN] Log and curves are not uploaded: {error}")

    def close(self) -> None:
        self._closed.set()

    def _upload_on_and_on(self, number: int) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            self.upload(number)

    def _upload_log(self, key: str) -> None:
        # Also when nothing was said: it ends with the time of now.
        self._store.put(key, self._log.newest())

    def _upload_curves(self, prefix: str) -> None:
        if self.curves is None:
            return
        data, key = self.curves.written(), prefix + self.curves.file_name
        if self._size_of.get(key, 0) != len(data):
            self._store.put(key, data)
            self._size_of[key] = len(data)


def with_traces(attempts: tuple[Attempt, ...], store: Store) -> tuple[Attempt, ...]:
    """Returns the attempts with the addresses of what they left in the bucket."""
    logs = {entry.key for entry in store.list_objects(layout.CLAIMS)}
    curves = {
        entry.key.rpartition("/")[0] + "/" for entry in store.list_objects(layout.TENSORBOARD)
    }

    def address(key: str, found: set[str]) -> str | None:
        return f"{store.uri}/{key}" if key in found else None

    return tuple(
        attempt.model_copy(
            update={
                "log_uri": address(layout.claim_log(attempt.number), logs),
                "tensorboard_uri": address(layout.claim_tensorboard(attempt.number), curves),
            }
        )
        for attempt in attempts
    )
