"""`down`: end what was started here, and nothing else, and leave nothing behind.

The state folder goes last: as long as it is there, an interrupted `down` can be repeated.
Everything is killed at once, because all of its data is thrown away with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from . import processes
from .execution import timed
from .failures import ClusterError
from .network import take_down_network
from .places import BRIDGE, Places

CGROUPS = Path("/sys/fs/cgroup")
PODS_CGROUP = "kubepods"
FOLDERS_OF_TRACES = (
    *("/var/log/containers", "/var/lib/cni/results", "/var/lib/cni"),
    *("/var/lib/kubelet/device-plugins", "/var/lib/kubelet"),
)


def take_down(places: Places) -> None:
    """Remove the cluster; harmless when there is none."""
    if not places.state.exists():
        return
    with timed("down"):
        _kill_parts(places, "kubelet")
        _kill_pods(places)
        _kill_parts(places, "*")
        # A shim that was being started while the pods were killed.
        _kill_pods(places)
        take_down_network(places)
        _remove_cgroups()
        _remove_traces(places)
        _unmount_below(places.state)
        shutil.rmtree(places.state)


def _kill_parts(places: Places, pattern: str) -> None:
    found = (processes.recorded(record) for record in places.records.glob(f"{pattern}.json"))
    processes.kill([p.pid for p in found if p is not None and p.is_alive()])


def _kill_pods(places: Places) -> None:
    """Containers are descendants of our shims, and a shim names the socket of its containerd."""
    address = str(places.containerd_socket)

    def is_our_shim(command_line: Sequence[str]) -> bool:
        return command_line[0].endswith("containerd-shim-runc-v2") and address in command_line

    shims, containers = processes.tree_below(is_our_shim)
    processes.kill(containers)
    processes.kill(shims)


def _remove_cgroups() -> None:
    """A cgroup of somebody else's running pods is not empty and stays."""
    for top in (CGROUPS / PODS_CGROUP, *CGROUPS.glob(f"*/{PODS_CGROUP}")):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)


def _remove_traces(places: Places) -> None:
    """Files at paths that are compiled into the kubelet and CNI; what belongs to others stays."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(places.state):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob(f"{BRIDGE}-*"):
        result.unlink()
    Path("/var/lib/kubelet/device-plugins/kubelet.sock").unlink(missing_ok=True)
    for folder in FOLDERS_OF_TRACES:
        with suppress(OSError):  # Not empty, or never made.
            os.rmdir(folder)


def _unmount_below(folder: Path) -> None:
    """Unmount everything below a folder; a mount that stays would make its removal dangerous."""
    mounted = _mounts_below(folder)
    if mounted:
        subprocess.run(["umount", "--lazy", "--", *reversed(mounted)], check=False)
    remaining = _mounts_below(folder)
    if remaining:
        raise ClusterError(f"cannot unmount {' '.join(remaining)}; {folder} is left as it is")


def _mounts_below(folder: Path) -> list[str]:
    mount_points = [
        line.split()[4].encode().decode("unicode_escape")
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    return [point for point in mount_points if Path(point).is_relative_to(folder)]
