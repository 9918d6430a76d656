"""`down`: end what was started here, and nothing else, and leave nothing behind.

The state folder goes last: as long as it is there, an interrupted `down` can be repeated.
Everything is killed at once, because all of its data is thrown away with it. Then it looks again:
what is still there is named, and the state folder stays.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from . import processes
from .execution import timed
from .failures import ClusterError
from .network import network_left, take_down_network
from .places import (
    BRIDGE,
    S3_FILER_PORT,
    S3_MASTER_PORT,
    S3_PORT,
    S3_VOLUME_PORT,
    Places,
    Size,
)

CGROUPS = Path("/sys/fs/cgroup")
PODS_CGROUP = "kubepods"
GRPC_ABOVE = 10_000
"""The twin of each port of SeaweedFS."""
NUM_SECONDS_TO_LEAVE_CGROUPS = 5.0
FOLDERS_OF_TRACES = (
    *("/var/log/containers", "/var/lib/cni/results", "/var/lib/cni"),
    *("/var/lib/kubelet/device-plugins", "/var/lib/kubelet"),
)


def take_down(places: Places) -> None:
    """Remove the cluster; harmless when there is none."""
    if not places.state.exists():
        return
    with timed("down"):
        if places.size is Size.WHOLE:
            _take_down_node(places)
        else:
            _kill_parts(places, "*")
        if left := _left_behind(places):
            raise ClusterError(
                f"down left {', '.join(left)}; {places.state} stays: run it again, or remove "
                "what it names by hand"
            )
        shutil.rmtree(places.state)


def _take_down_node(places: Places) -> None:
    """End every part, pod and trace of the one node on this machine."""
    _kill_parts(places, "kubelet")
    _kill_pods(places)
    _kill_parts(places, "*")
    # A shim that was being started while the pods were killed.
    _kill_pods(places)
    take_down_network(places)
    _remove_cgroups()
    _remove_traces(places)
    _unmount_below(places.state)


def _left_behind(places: Places) -> list[str]:
    """What is still there of everything that a cluster makes outside its state folder."""
    parts = [f"process {pid}" for pid in _living_parts(places, "*")]
    if places.size is Size.API:
        return parts
    shims, containers = _pods(places)
    return [
        *parts,
        *(f"process {pid}" for pid in (*shims, *containers)),
        *(f"mount {point}" for point in _mounts_below(places.state)),
        *network_left(),
        *(f"cgroup {top}" for top in _pods_cgroups() if not _has_processes(top)),
    ]


def _living_parts(places: Places, pattern: str) -> list[int]:
    found = (processes.recorded(record) for record in places.records.glob(f"{pattern}.json"))
    return [p.pid for p in found if p is not None and p.is_alive()]


def _kill_parts(places: Places, pattern: str) -> None:
    processes.kill(_living_parts(places, pattern))


def _pods(places: Places) -> tuple[list[int], list[int]]:
    """Containers are descendants of our shims, and a shim names the socket of its containerd."""
    address = str(places.containerd_socket)

    def is_our_shim(command_line: Sequence[str]) -> bool:
        return command_line[0].endswith("containerd-shim-runc-v2") and address in command_line

    return processes.tree_below(is_our_shim)


def _kill_pods(places: Places) -> None:
    shims, containers = _pods(places)
    processes.kill(containers)
    processes.kill(shims)


def _remove_cgroups() -> None:
    """A cgroup of somebody else's running pods is not empty and stays."""
    # The kernel takes a process that was killed out of its cgroups a moment after its end.
    deadline = time.monotonic() + NUM_SECONDS_TO_LEAVE_CGROUPS
    while (tops := _pods_cgroups()) and time.monotonic() < deadline:
        for top in tops:
            for folder, _, _ in os.walk(top, topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)
        time.sleep(0.05)


def _pods_cgroups() -> list[Path]:
    """The top of all pods: once in version 2, once for each controller in version 1."""
    tops = (CGROUPS / PODS_CGROUP, *CGROUPS.glob(f"*/{PODS_CGROUP}"))
    return [top for top in tops if top.exists()]


def _has_processes(top: Path) -> bool:
    return any(_text(file).strip() for file in top.rglob("cgroup.procs"))


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # The cgroup went away meanwhile.
        return ""


def _remove_traces(places: Places) -> None:
    """Files at paths that are compiled into the programs; what belongs to others stays."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(places.state):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob(f"{BRIDGE}-*"):
        result.unlink()
    Path("/var/lib/kubelet/device-plugins/kubelet.sock").unlink(missing_ok=True)
    for port in (S3_PORT, S3_MASTER_PORT, S3_VOLUME_PORT, S3_FILER_PORT):
        for name in (f"{port}", f"grpc-{GRPC_ABOVE + port}"):
            for unix_socket in Path("/tmp").glob(f"seaweedfs-*-{name}.sock"):
                unix_socket.unlink()
    for folder in FOLDERS_OF_TRACES:
        with suppress(OSError):  # Not empty, or never made.
            os.rmdir(folder)


def _unmount_below(folder: Path) -> None:
    """Unmount everything below a folder; a mount that stays would make its removal dangerous."""
    mounted = _mounts_below(folder)
    if mounted:
        subprocess.run(["umount", "--lazy", "--", *reversed(mounted)], check=False)


def _mounts_below(folder: Path) -> list[str]:
    mount_points = [
        line.split()[4].encode().decode("unicode_escape")
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    return [point for point in mount_points if Path(point).is_relative_to(folder)]
