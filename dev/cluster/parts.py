"""The parts of a cluster: how each is started and how one sees that it is healthy.

They are listed in the order of starting. A part of a later stage needs one of an earlier stage.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import commands
from .addresses import addresses_of
from .api import answers
from .places import Places, Size
from .prerequisites import find_weed
from .processes import Process, recorded
from .s3 import bucket_is_there


@dataclass(frozen=True, kw_only=True)
class Part:
    """One long-running program."""

    name: str
    stage: int
    argv: tuple[str, ...]
    is_healthy: Callable[[], bool]
    num_seconds_to_start: float = 60.0
    record: Path
    log: Path

    def process(self) -> Process | None:
        """The living process of this part; None when it was never started or has ended."""
        process = recorded(self.record)
        return process if process is not None and process.is_alive() else None


Command = tuple[int, tuple[str, ...], Callable[[], bool]]
"""The stage of a part, its command line, and whether it is healthy."""


def environment_of_parts(places: Places) -> Mapping[str, str]:
    """containerd finds its shim on PATH; runc and nft lie in the folders of the system."""
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": f"{places.programs}:{system}", "HOME": os.environ.get("HOME", "/root")}


def all_parts(places: Places) -> list[Part]:
    """Every part of the cluster, in the order of starting."""
    control_plane = _control_plane(places)
    nodes = _node(places) if places.size is Size.WHOLE else _simulated_nodes(places)
    return [
        Part(
            name=(name := Path(argv[0]).name),
            stage=stage,
            argv=argv,
            is_healthy=is_healthy,
            record=places.records / f"{name}.json",
            log=places.logs / f"{name}.log",
        )
        for stage, argv, is_healthy in sorted([*control_plane, *nodes], key=lambda part: part[0])
    ]


def _control_plane(places: Places) -> list[Command]:
    at = addresses_of(places)

    def answers_at(address: str) -> Callable[[], bool]:
        return lambda: answers(address, places)

    def is_well(port: int) -> Callable[[], bool]:
        return answers_at(f"https://127.0.0.1:{port}/healthz")

    return [
        (1, commands.etcd(places), answers_at(f"{at.etcd}/health")),
        (2, commands.api_server(places), answers_at(f"{at.api_server}/readyz")),
        (3, commands.controller_manager(places), is_well(at.controller_manager_port)),
        (3, commands.scheduler(places), is_well(at.scheduler_port)),
    ]


def _node(places: Places) -> list[Command]:
    """A node of this machine, and the store that its pods use."""
    weed = commands.seaweedfs(places, find_weed())
    return [
        (1, commands.containerd(places), lambda: _accepts(places.containerd_socket)),
        (1, weed, lambda: bucket_is_there(places)),
        (3, commands.kubelet(places), lambda: answers("http://127.0.0.1:10248/healthz", places)),
        (3, commands.proxy(places), lambda: answers("http://127.0.0.1:10256/healthz", places)),
    ]


def _simulated_nodes(places: Places) -> list[Command]:
    at = addresses_of(places)
    address = f"http://127.0.0.1:{at.kwok_port}/healthz"
    return [(3, commands.kwok(places, at), lambda: answers(address, places))]


def _accepts(unix_socket: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(unix_socket))
        except OSError:
            return False
    return True
