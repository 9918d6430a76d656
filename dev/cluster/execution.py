"""Programs that run to their end: build steps and system commands."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .failures import StepFailed


def execute(
    argv: Sequence[str],
    *,
    step: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: str = "",
) -> str:
    """Run a program, return what it wrote to standard output, raise StepFailed if it fails."""
    ended = subprocess.run(
        argv, cwd=folder, env=environment, input=given, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise StepFailed(step, ended.returncode, ended.stdout + ended.stderr)
    return ended.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether a program ends with status 0; what it writes is dropped."""
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Print one line for a step when it has succeeded, with the time it took."""
    begun = time.monotonic()
    yield
    print(f"{step}: {time.monotonic() - begun:.1f} s", flush=True)
