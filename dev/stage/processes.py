"""Processes inside pods, seen from the node: this machine."""

from pathlib import Path


def processes_with(variable: str, value: str) -> list[int]:
    """Returns the pids in whose environment `variable` is `value`, lowest first."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:  # it ended while we looked
                continue
    return sorted(found)
