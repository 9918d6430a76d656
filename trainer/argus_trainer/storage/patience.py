"""How long and how to wait for a store that does not answer.

One `Patience` per call: the outage begins with its first failure and is waited out with
growing, jittered pauses. Every wait can be ended from outside, because a preempted pod has
seconds to live.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import TypeVar

import structlog

from argus_trainer.errors import Preempted, StorageUnavailable
from argus_trainer.storage import first_contact

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 15.0
LOOK_SECONDS = 0.1
"""How often a wait looks at `stopping`."""

_log = structlog.get_logger(__name__)


def never() -> bool:
    """A `stopping` that never says so."""
    return False


class Patience:
    """Waits of one call. `what` names the call in errors, for example "get s3://b/k"."""

    def __init__(
        self, what: str, *, tolerance_seconds: float, stopping: Callable[[], bool]
    ) -> None:
        self._what = what
        self._tolerance_seconds = tolerance_seconds
        self._stopping = stopping
        self._failed_since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    @property
    def is_first_contact_over(self) -> bool:
        """Whether the call has failed for longer than a new pod may need to reach its store."""
        since = time.monotonic() if self._failed_since is None else self._failed_since
        enough = min(first_contact.FIRST_CONTACT_SECONDS, self._tolerance_seconds)
        return time.monotonic() - since >= enough

    def result(self, reply: Future[T]) -> T:
        """Returns the reply's result. Raises Preempted (and drops the reply) when stopping."""
        while True:
            try:
                return reply.result(timeout=LOOK_SECONDS)
            except NotYet:
                # It came just now, or is itself a TimeoutError, which looks the same.
                if reply.done():
                    return reply.result()
                if self._stopping():
                    reply.cancel()
                    raise Preempted(f"storage: stopped while waiting: {self._what}") from None

    def pause(self, failure: Exception) -> None:
        """Waits before the next try.

        Raises StorageUnavailable when the outage has lasted longer than is tolerated, and
        Preempted when stopping.
        """
        now = time.monotonic()
        if self._failed_since is None:
            self._failed_since = now
        outage_seconds = now - self._failed_since
        if outage_seconds >= self._tolerance_seconds:
            raise StorageUnavailable(
                f"storage: no success for {outage_seconds:.0f} s: {self._what}: "
                f"{first_line(failure)}; check the endpoint, or raise "
                f"storage.outageToleranceSeconds ({self._tolerance_seconds:.0f})"
            ) from failure
        _log.warning("storage waits", call=self._what, error=first_line(failure))
        end = min(
            now + self._pause * random.uniform(0.5, 1.0),
            self._failed_since + self._tolerance_seconds,
        )
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        while (remaining := end - time.monotonic()) > 0:
            if self._stopping():
                raise Preempted(f"storage: stopped in an outage: {self._what}") from failure
            time.sleep(min(remaining, LOOK_SECONDS))


def first_line(failure: Exception) -> str:
    """Returns what an error says first: some clients add pages of their own insides."""
    return str(failure).partition("\n")[0]
