"""kubectl and helm as a person types them, against the cluster of `dev/cluster`."""

import functools
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class CommandFailed(Exception):
    """A command ended with an error; the message holds what it printed."""


@functools.cache
def environment() -> dict[str, str]:
    """Returns the variables that `python3 -m cluster env` exports, over our own.

    Raises CommandFailed when the cluster is not up.
    """
    command = [sys.executable, "-m", "cluster", "env"]
    own = {**os.environ, "PYTHONPATH": str(ROOT / "dev")}
    done = subprocess.run(command, capture_output=True, text=True, env=own, check=False)
    if done.returncode:
        raise CommandFailed(done.stdout + done.stderr)
    variables = dict(os.environ)
    for line in done.stdout.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        if line.startswith("export "):
            variables[name] = os.path.expandvars("".join(shlex.split(value)))
    return variables


def call(*command: str, stdin: str | None = None, timeout: float = 300) -> str:
    """Runs a command with the cluster's environment; returns what it printed.

    Raises CommandFailed with both outputs when it ends with an error.
    """
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(command[:4])} ...\n{done.stdout}{done.stderr}")
    return done.stdout


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Runs kubectl; returns what it printed."""
    return call("kubectl", *arguments, stdin=stdin)


def get(*arguments: str) -> Any:
    """Returns the JSON of `kubectl get ... -o json`."""
    return json.loads(kubectl("get", *arguments, "-o", "json"))


def apply(document: dict[str, Any]) -> None:
    """Applies one resource, as `kubectl apply -f -`."""
    kubectl("apply", "-f", "-", stdin=json.dumps(document))
