"""What a run is given from outside, so that nothing below looks for it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from argus_trainer.process.stop import Stop


def utc_now() -> datetime:
    return datetime.now(UTC)


def say(line: str) -> None:
    """Prints a line of the log at once: a killed process must not hold lines back."""
    print(line, flush=True)


def nothing() -> None:
    """Does that."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """A pod, or a person's terminal."""

    pod: str
    """Name of the pod or of the machine, for the ledger."""
    node: str | None = None
    stop: Stop
    progress_address: tuple[str, int] | None = None
    """Host and port of /progress; None serves nothing."""
    termination_path: Path | None = None
    """Where the last words go."""
    wording: Callable[[str], str] = str
    """Puts the message of an error into the words of whoever started the run."""
    begin: Callable[[], None] = nothing
    """Called before the run's first write, once nothing has refused it."""
    clock: Callable[[], datetime] = utc_now
    say: Callable[[str], None] = say
