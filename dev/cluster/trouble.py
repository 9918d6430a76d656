"""`signal`: trouble for one part, made on purpose.

KILL is a crash, which `up` mends. STOP makes a part fall silent with its connections open, until
CONT. HUP makes the S3 server read its keys again.
"""

from __future__ import annotations

import os
import signal

from . import processes
from .failures import ClusterError
from .places import Places

SIGNALS = ("CONT", "HUP", "KILL", "STOP")


def send_signal(places: Places, part: str, name: str) -> None:
    """Send a signal to a part that runs; a killed one is gone when this returns."""
    process = processes.recorded(places.records / f"{part}.json")
    if process is None or not process.is_alive():
        raise ClusterError(f"no part named '{part}' runs: see `status`")
    if name == "KILL":
        processes.kill([process.pid])
    else:
        os.kill(process.pid, signal.Signals[f"SIG{name}"])
