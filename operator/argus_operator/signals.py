"""SIGTERM and Ctrl-C, taken by a thread that waits for them.

kopf installs handlers of its own, which would end it before the work in hand is done.
Blocked signals never reach them, and are not ignored either, as they would be in process 1.
"""

import asyncio
import signal
import threading

_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})


def block() -> None:
    """Keeps them from every thread; called before there is a second one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)


def stop_on_signal() -> asyncio.Event:
    """Returns an event of the running loop, set by the first signal."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def wait() -> None:
        signal.sigwait(_STOPPING)
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return stop
