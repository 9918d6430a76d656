"""Processes that outlive the command that started them.

A record on disk names a process by its id, its start time and the machine's boot. The kernel reuses
an id; the three together it does not, so nothing foreign is ever taken for ours or killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

NUM_SECONDS_TO_DIE = 10.0


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of this machine, for good."""

    pid: int
    start_ticks: int
    """Clock ticks from boot to the start of the process, field 22 of /proc/PID/stat."""
    boot: str
    since: str
    """Local time of the start, for people."""

    def is_alive(self) -> bool:
        return self.boot == boot_id() and start_ticks_of(self.pid) == self.start_ticks


@dataclass(frozen=True, kw_only=True)
class Relation:
    """What one look at /proc says about a process."""

    parent: int
    is_zombie: bool
    start_ticks: int


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def relation_of(pid: int) -> Relation | None:
    """None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return Relation(parent=int(fields[1]), is_zombie=fields[0] == "Z", start_ticks=int(fields[19]))


def start_ticks_of(pid: int) -> int | None:
    """None when there is no such process or it has ended and only waits to be reaped."""
    relation = relation_of(pid)
    return None if relation is None or relation.is_zombie else relation.start_ticks


def start(argv: Sequence[str], *, log: Path, environment: Mapping[str, str], record: Path) -> None:
    """Start a program in a session of its own and record it."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd="/",
        )
    relation = relation_of(child.pid)
    process = Process(
        pid=child.pid,
        start_ticks=relation.start_ticks if relation else 0,
        boot=boot_id(),
        since=time.strftime("%Y-%m-%d %H:%M:%S"),
    )
    unfinished = record.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(asdict(process)))
    unfinished.replace(record)


def recorded(record: Path) -> Process | None:
    """The process that a record names, dead or alive; None when nothing was recorded."""
    return Process(**json.loads(record.read_text())) if record.exists() else None


def tree_below(is_root: Callable[[Sequence[str]], bool]) -> tuple[list[int], list[int]]:
    """Processes whose command line `is_root` accepts, and all their descendants."""
    relations = {pid: found for pid in _all_pids() if (found := relation_of(pid)) is not None}
    roots = [pid for pid in relations if is_root(_command_line(pid))]
    children_of: dict[int, list[int]] = {}
    for pid, relation in relations.items():
        children_of.setdefault(relation.parent, []).append(pid)
    descendants: list[int] = []
    waiting = list(roots)
    while waiting:
        below = children_of.get(waiting.pop(), [])
        descendants += below
        waiting += below
    return roots, descendants


def kill(pids: Sequence[int]) -> None:
    """End processes at once and wait until they are gone."""
    ticks_of_pid = {pid: start_ticks_of(pid) for pid in pids}
    for pid, ticks in ticks_of_pid.items():
        if ticks is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    deadline = time.monotonic() + NUM_SECONDS_TO_DIE
    while time.monotonic() < deadline:
        if all(t is None or start_ticks_of(p) != t for p, t in ticks_of_pid.items()):
            return
        time.sleep(0.02)


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
