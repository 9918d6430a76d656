"""Waiting for what the cluster does in its own time."""

import time
from collections.abc import Callable

LOOK_SECONDS = 0.5


class TookTooLong(Exception):
    """What was waited for did not come; the message says what it was."""


def until(
    condition: Callable[[], object], timeout: float, what: str, pause: float = LOOK_SECONDS
) -> None:
    """Returns once `condition` holds, looking again after each `pause`.

    Raises TookTooLong after `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TookTooLong(f"waited {timeout:.0f} s for {what}")
        time.sleep(pause)
