"""The parts of the cluster (kubelet, containerd, weed, ...), through its own command line."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stage.kubectl import ROOT


def cluster(*arguments: str) -> None:
    """Runs `python3 -m cluster ...`. Raises subprocess.CalledProcessError when it fails."""
    subprocess.run(_command(*arguments), cwd=ROOT, env=_environment(), check=True)


def cluster_status() -> tuple[bool, str]:
    """Returns whether every part is well, and the lines that say so."""
    done = subprocess.run(
        _command("status"),
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout


@contextmanager
def crashed(part: str, seconds: float = 0) -> Iterator[None]:
    """Kills a part; starts it again at the end, but not before `seconds` have passed."""
    cluster("signal", part, "KILL")
    began = time.monotonic()
    try:
        yield
        _wait_out(began, seconds)
    finally:
        cluster("up")


@contextmanager
def silent(part: str, seconds: float = 0) -> Iterator[None]:
    """Makes a part keep its connections and say nothing, as long as `crashed` would."""
    cluster("signal", part, "STOP")
    began = time.monotonic()
    try:
        yield
        _wait_out(began, seconds)
    finally:
        cluster("signal", part, "CONT")


def _wait_out(began: float, seconds: float) -> None:
    time.sleep(max(0.0, began + seconds - time.monotonic()))


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cluster", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "dev")}
