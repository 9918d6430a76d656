"""Makes the golden files of this contract version: what a later version must still read.

`python dev/golden.py FOLDER` writes data, a run that was stopped half-way, and the bundle of
the same run. Run it once per contract version, and never again for one that was released.

A local store's ETag is made of size and time of change, and the plan pins it: whoever puts the
files somewhere else sets `CHANGED_AT` on the data again.
"""

import os
import shutil
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from argus_contract.launch import Launch
from argus_trainer.process.run import run
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.local import LocalStore
from toy import toy_launch

RUN_KEY = "90de0000000000000001"
CHANGED_AT = 1_767_225_600_000_000_000
"""Nanoseconds since 1970: 2026-01-01."""
STOP_AT = "[EPOCH 2/2] Starting epoch..."
PLANNED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def launch() -> Launch:
    """The run, with addresses relative to the folder that it is in."""
    return toy_launch("data", namespace="golden", name="golden", run_key=RUN_KEY)


def age(folder: Path) -> None:
    """Gives the data the time of change that the plan pinned."""
    for path in folder.rglob("*"):
        os.utime(path, ns=(CHANGED_AT, CHANGED_AT))


def start(stop_at: str | None) -> int:
    """Runs in the current folder, until the log says `stop_at`."""
    stop = Stop()

    def say(line: str) -> None:
        if line == stop_at:
            stop.request()

    return run(launch(), Surroundings(pod="golden", stop=stop, say=say, clock=lambda: PLANNED_AT))


def main(target: Path) -> None:
    """Writes the golden files into `target`."""
    target = target.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        generate(
            LocalStore(Path("data")),
            servers=2,
            hours=16,
            seed=1,
            cadence_seconds=300,
            start=datetime(2025, 12, 31, tzinfo=UTC),
        )
        age(Path("data"))
        stopped = start(STOP_AT)
        shutil.copytree("checkpoints", "half-way")
        ended = start(None)
        if (stopped, ended) != (75, 0):
            sys.exit(f"the run ended with {stopped} and then {ended}, not with 75 and 0")
        target.mkdir(parents=True, exist_ok=True)
        # The names of a network's many small tensors are most of a state: xz takes them away.
        with tarfile.open(target / "run.tar.xz", "w:xz", preset=9) as archive:
            archive.add("data")
            archive.add("half-way", "checkpoints")
            archive.add("models")
        size = (target / "run.tar.xz").stat().st_size
        print(f"{target / 'run.tar.xz'}: {size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
