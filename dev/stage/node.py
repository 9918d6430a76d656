"""The one node, as its administrator and its neighbours disturb it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage.kubectl import apply, get, kubectl
from stage.waiting import until

NODE = "node-1"
GPU = "nvidia.com/gpu"
SLOT = "argus.dev/slot"
"""A resource that the node has once: a GPU for the scheduler, which no trainer looks for."""
URGENT = "urgent"
CGROUPS = Path("/sys/fs/cgroup")

EAT = """
import os, sys
trainer, cgroup = sys.argv[1:]
with open(cgroup, "w") as file:
    file.write(str(os.getpid()))
held = []
while os.path.exists(f"/proc/{trainer}"):
    held.append(b"x" * (16 << 20))
"""


def node_is_ready() -> bool:
    """Returns whether the control plane believes in the node."""
    conditions = get("node", NODE)["status"]["conditions"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@contextmanager
def drained() -> Iterator[None]:
    """Drains the node, of the operator too, and takes it back at the end."""
    try:
        kubectl(
            "drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"
        )  # fmt: skip
        yield
    finally:
        kubectl("uncordon", NODE)


@contextmanager
def given_up(namespace: str, pod: str) -> Iterator[None]:
    """Does with a node whose kubelet is away what the control plane does: its pod must go, and no
    other is placed there until the end.

    Left to itself it would take five minutes; and with no node left that answers, it takes itself
    for the cause and gives none up.
    """
    kubectl("cordon", NODE)
    kubectl("delete", "pod", pod, "-n", namespace, "--wait=false")
    try:
        yield
    finally:
        kubectl("uncordon", NODE)


@contextmanager
def one_slot(name: str = SLOT) -> Iterator[None]:
    """Gives the node one of a resource, which it has until the end."""
    place = name.replace("/", "~1")
    paths = [f"/status/{part}/{place}" for part in ("capacity", "allocatable")]
    _patch_node([{"op": "add", "path": path, "value": "1"} for path in paths])
    try:
        yield
    finally:
        _patch_node([{"op": "remove", "path": path} for path in paths])


def _patch_node(patch: list[dict[str, str]]) -> None:
    kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "-p", json.dumps(patch))


@contextmanager
def urgent_pod(namespace: str, image: str) -> Iterator[None]:
    """Runs a pod of a higher priority in the slot, whoever has it, until the end."""
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": URGENT},
        "value": 1000,
    }
    container = {
        "name": "urgent",
        "image": image,
        "imagePullPolicy": "Never",
        "resources": {"limits": {SLOT: "1"}},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": URGENT, "namespace": namespace},
        "spec": {
            "priorityClassName": URGENT,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }
    apply(priority)
    apply(pod)
    where = ("pod", URGENT, "-n", namespace)
    try:
        until(lambda: get(*where)["status"]["phase"] == "Running", 90, "the urgent pod to run")
        yield
    finally:
        kubectl("delete", *where)
        kubectl("delete", "priorityclass", URGENT)


def exhaust_memory(pid: int) -> None:
    """Uses up the memory limit of a container from inside its cgroup, until `pid` is gone.

    The kernel kills the process whose score is highest: that of the container, which the kubelet
    gave one, and not this one.
    """
    eater = [sys.executable, "-c", EAT, str(pid), str(_memory_cgroup(pid) / "cgroup.procs")]
    subprocess.run(eater, check=False, timeout=120)


def _memory_cgroup(pid: int) -> Path:
    """Returns the folder of version 1's memory controller, or else of version 2."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    folder_of = {
        controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)
    }
    if "memory" in folder_of:
        return CGROUPS / "memory" / folder_of["memory"].lstrip("/")
    return CGROUPS / folder_of[""].lstrip("/")
