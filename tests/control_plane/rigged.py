"""A script for chaos: the operator, interrupted at an await of the reconcile of each run.

A run named `...-N` is interrupted once, where its reconcile waits for the N-th time, counted
over all lives of the operator. The folder ARGUS_RIG holds what must outlive a killed process: the
count of each run and a file `<run>.reached` for each interruption. With ARGUS_RIG_ACTION `kill`
the process kills itself there; with `wait` it stands still until somebody makes `<run>.done`. Runs
of other namespaces than ARGUS_RIG_NAMESPACE are left alone.
ARGUS_RIG_RESYNC, in seconds, shortens the time in which news that no watch told is found.
"""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

from argus_operator import resync
from argus_operator.__main__ import main
from argus_operator.reconcile import Reconciler
from argus_operator.views import Key

LOOK_SECONDS = 0.01


class Rig:
    """Counts the awaits of each run, and interrupts."""

    def __init__(self, folder: Path, action: str) -> None:
        self._folder, self._action = folder, action
        counts = folder / "counts"
        counts.touch()
        self._counted = Counter(counts.read_text().split())
        self._file = os.open(counts, os.O_WRONLY | os.O_APPEND)

    def awaits(self, run: str) -> None:
        """The reconcile of a run waits."""
        os.write(self._file, f"{run}\n".encode())
        self._counted[run] += 1
        number = run.rpartition("-")[2]
        reached = self._folder / f"{run}.reached"
        if not number.isdigit() or self._counted[run] < int(number) or reached.exists():
            return
        reached.touch()
        if self._action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while not (self._folder / f"{run}.done").exists():
            time.sleep(LOOK_SECONDS)


class Watched:
    """A coroutine that tells each time it waits."""

    def __init__(self, work: Coroutine[Any, Any, Any], rig: Rig, run: str) -> None:
        self._work, self._rig, self._run = work, rig, run

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        try:
            awaited = next(steps)
            while True:
                self._rig.awaits(self._run)
                try:
                    sent = yield awaited
                except BaseException as error:
                    awaited = steps.throw(error)
                else:
                    awaited = steps.send(sent)
        except StopIteration as end:
            return end.value


def rig() -> None:
    """Changes the operator of this process, as the environment says."""
    if "ARGUS_RIG" in os.environ:
        found = Rig(Path(os.environ["ARGUS_RIG"]), os.environ["ARGUS_RIG_ACTION"])
        namespace = os.environ["ARGUS_RIG_NAMESPACE"]
        original = Reconciler.reconcile

        async def reconcile(self: Reconciler, key: Key, failures: int) -> float | None:
            work = original(self, key, failures)
            if key.namespace != namespace:
                return await work
            pause: float | None = await Watched(work, found, key.name)
            return pause

        Reconciler.reconcile = reconcile  # type: ignore[method-assign]
    if "ARGUS_RIG_RESYNC" in os.environ:
        resync.INTERVAL_SECONDS = float(os.environ["ARGUS_RIG_RESYNC"])


if __name__ == "__main__":
    rig()
    sys.exit(main())
