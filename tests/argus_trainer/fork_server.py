"""A script for tests: imports torch once, then runs each request in a process of its own.

One JSON object per line comes in: `launch`, `words` (path for the last words), and optionally
`line` and `signal`: the run sends itself that signal when it says that line of its log. The
exit code of the run goes out, negative for the signal that killed it. A run is forked from a
process that has one thread, so it is as good as one that was started.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import argus_trainer.process.attempt  # noqa: F401 - what takes seconds, for all runs
from argus_contract.launch import Launch
from argus_trainer.process.run import run
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings


def run_one(request: dict[str, Any]) -> int:
    """The life of a run's process."""
    stop = Stop()
    stop.listen()

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
