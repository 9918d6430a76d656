"""What can go wrong, as the user sees it.

ClusterError            one message for the terminal, no traceback
|-- MissingPrerequisite this machine lacks something; says what to do
|-- StepFailed          a program run to its end failed; carries the last lines it wrote
`-- PartFailed          a part of the cluster died or never answered; carries the end of its log
"""

from __future__ import annotations

from pathlib import Path

NUM_LAST_LINES = 20


class ClusterError(Exception):
    """One message for the terminal."""


class MissingPrerequisite(ClusterError):
    """This machine lacks something that the cluster needs."""


class StepFailed(ClusterError):
    """A program that was run to its end did not succeed."""

    def __init__(self, step: str, status: int, output: str) -> None:
        super().__init__(f"{step} failed (exit status {status}):\n{last_lines(output)}")


class PartFailed(ClusterError):
    """A part of the cluster died or did not become healthy."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        text = log.read_text(errors="replace") if log.exists() else ""
        super().__init__(f"{name} {reason}; the end of {log}:\n{last_lines(text)}")


def last_lines(text: str) -> str:
    """The end of a log, indented so that it stands apart from our own words."""
    lines = text.rstrip().splitlines()[-NUM_LAST_LINES:]
    return "\n".join(f"    {line[:500]}" for line in lines) or "    (nothing was written)"
