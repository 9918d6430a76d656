"""The device and the threads that a training runs on.

Exactness needs the same number of threads in every attempt: one and two threads already sum
in another order. The first attempt takes what the container may use; later ones take the
first one's number, whatever their node has.
"""

import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from lightning.fabric import Fabric

from argus_trainer.data.memory import Memory, Shares
from argus_trainer.data.residence import blocks_fit
from argus_trainer.errors import GpuOutOfMemory

CGROUP = Path("/sys/fs/cgroup")
THREADS = "threads"
"""Key of the number of threads in the versions of a state."""


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """Returns the CPUs that this process may use: its affinity, or less by the cgroup's quota."""
    cpus = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Returns the CPUs that the cgroup (version 2, or 1) grants, None without a limit."""
    both = cgroup / "cpu.max"
    old = cgroup / "cpu" / "cpu.cfs_quota_us"
    if both.exists():
        quota, period = both.read_text(encoding="ascii").split()
    elif old.exists():
        quota = old.read_text(encoding="ascii").strip()
        period = old.with_name("cpu.cfs_period_us").read_text(encoding="ascii").strip()
    else:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def make_fabric(*, gpus: int, threads: int, deterministic: bool) -> Fabric:
    """Returns the device in full float32.

    `deterministic` has torch refuse what may give other bits each time; on a CPU it always
    does, for nothing there is slower for it.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic or not gpus)
    # Exactness needs no memory filled before use; it would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return Fabric(accelerator="cuda" if gpus else "cpu", devices=1, precision="32-true")


def device_of(gpus: int) -> torch.device:
    """Returns the device that `make_fabric` takes."""
    return torch.device("cuda", 0) if gpus else torch.device("cpu")


def home_of_blocks(device: torch.device, memory: Memory, shares: Shares) -> torch.device:
    """Returns where a run's blocks stay: on its device, or on the host if they do not fit there."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if not blocks_fit(memory, shares, free):
            return torch.device("cpu")
    return device


@contextmanager
def names_its_memory(batch_size: int) -> Iterator[None]:
    """Raises GpuOutOfMemory, with the field to change, where the GPU has no room for a batch."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise GpuOutOfMemory(
            f"the GPU's memory is too small for training.batchSize {batch_size}: make the run "
            f"again with a smaller one, or with a smaller model ({error})"
        ) from error


def versions(fabric: Fabric, *, threads: int) -> dict[str, str]:
    """Returns what exactness depends on and a state records."""
    packages = ("torch", "pytorch-forecasting", "lightning", "numpy", "pyarrow")
    on_gpu = fabric.device.type == "cuda"
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "device": torch.cuda.get_device_name(fabric.device) if on_gpu else platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        THREADS: str(threads),
    }
