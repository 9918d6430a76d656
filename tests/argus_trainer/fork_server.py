"""A script for tests: imports torch once, then runs each request in a process of its own.

One JSON object per line comes in: `launch`, `words` (path for the last words), and optionally
`line` and `signal` (the run sends itself that signal when it says that line of its log), `at`
(see `Place`), `values` (`module:NAME` and the value that it gets) and `cpus` (how many the run may
use). The exit code of the run goes out, negative for the signal that killed it. A run is forked
from a process that has one thread, so it is as good as one that was started.
"""

import itertools
import json
import os
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import tensorboard.summary.writer.record_writer  # noqa: F401 - what takes long, for all runs

import argus_trainer.process.attempt  # noqa: F401 - the same
from argus_contract.launch import Launch
from argus_trainer.process.run import run
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the process sends itself a signal: the nth call of a function, before or after it."""

    name: str
    """`module:Class.method`."""
    signal: int
    key: str = ""
    """Counts only calls with an argument that holds this text."""
    nth: int = 1
    after: bool = False
    again: int = 0
    """A second signal, right after the first."""
    hangs: bool = False
    """The call never returns."""

    def arm(self, stop: Stop) -> None:
        module, _, path = self.name.partition(":")
        *parents, name = path.split(".")
        owner: Any = import_module(module)
        for parent in parents:
            owner = getattr(owner, parent)
        original, calls = getattr(owner, name), itertools.count(1)

        def watched(*arguments: Any, **options: Any) -> Any:
            counts = not self.key or any(
                isinstance(text, str) and self.key in text for text in arguments
            )
            if not counts or next(calls) != self.nth:
                return original(*arguments, **options)
            result = original(*arguments, **options) if self.after else None
            if self.signal:
                os.kill(os.getpid(), self.signal)
                # The thread that takes signals has this one before the call goes on.
                stop._asked.wait()
            if self.again:
                os.kill(os.getpid(), self.again)
            if self.hangs:
                threading.Event().wait()
            return result if self.after else original(*arguments, **options)

        setattr(owner, name, watched)


def run_one(request: dict[str, Any]) -> int:
    """The life of a run's process."""
    stop = Stop()
    stop.listen()
    if "cpus" in request:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-request["cpus"] :])
    for name, value in request.get("values", {}).items():
        module, _, attribute = name.partition(":")
        setattr(import_module(module), attribute, value)
    if "at" in request:
        Place(**request["at"]).arm(stop)

    def say(line: str) -> None:
        if line == request.get("line"):
            os.kill(os.getpid(), request["signal"])

    surroundings = Surroundings(
        pod="pod", stop=stop, termination_path=Path(request["words"]), say=say
    )
    return run(Launch.model_validate(request["launch"]), surroundings)


def serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(run_one(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
