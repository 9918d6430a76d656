"""What a person wants to read when the pod is gone: the log of this process and its curves.

Both grow, so they are written anew from time to time, under the number of this process's claim:
no other process writes there, and nothing reads them but people. Best effort: a store that does
not take them ends no run.
"""

import threading
import time
from typing import TYPE_CHECKING

from argus_contract import layout
from argus_contract.status import Attempt
from argus_trainer.errors import ArgusError
from argus_trainer.process.log import Log
from argus_trainer.storage.store import Store

if TYPE_CHECKING:
    # Needs torch, which a run that was published before never imports.
    from argus_trainer.process.curves import Curves

UPLOAD_SECONDS = 60.0
"""At most so often in a running training: each upload is the whole file."""


class Traces:
    """Uploads for one claim."""

    def __init__(self, store: Store, log: Log) -> None:
        self._store = store
        self._log = log
        self.curves: Curves | None = None
        """Set once there is a training."""
        self._uploaded_at: float | None = None
        self._num_said = -1
        self._size_of: dict[str, int] = {}
        self._one_at_a_time = threading.Lock()

    def upload_if_due(self, number: int) -> None:
        """Uploads, if the last time is long enough ago; `number` is that of the claim."""
        now = time.monotonic()
        if self._uploaded_at is None or now - self._uploaded_at >= UPLOAD_SECONDS:
            self._uploaded_at = now
            self.upload(number)

    def upload(self, number: int) -> None:
        """Uploads what has grown."""
        with self._one_at_a_time:
            try:
                self._upload_curves(layout.claim_tensorboard(number))
                self._upload_log(layout.claim_log(number))
            # A full disk or an outage: the run goes on, and the next upload brings all.
            except (ArgusError, OSError) as error:
                self._log.say(f"[RUN] Log and curves are not uploaded: {error}")

    def close(self) -> None:
        """Removes what was written on this machine."""
        if self.curves:
            self.curves.close()

    def _upload_log(self, key: str) -> None:
        num_said = self._log.num_said
        if num_said != self._num_said:
            self._store.put(key, self._log.newest())
            self._num_said = num_said

    def _upload_curves(self, prefix: str) -> None:
        for file in self.curves.written() if self.curves else ():
            data = file.read_bytes()
            if self._size_of.get(file.name) != len(data):
                self._store.put(prefix + file.name, data)
                self._size_of[file.name] = len(data)


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
