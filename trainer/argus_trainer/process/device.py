"""The device and the threads that a training runs on.

Exactness needs the same number of threads in every attempt: one and two threads already sum
in another order. The first attempt takes what the container may use; later ones take the
first one's number, whatever their node has.
"""

import math
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch
from lightning.fabric import Fabric

from argus_trainer.errors import ConfigurationError

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
THREADS = "threads"
"""Key of the number of threads in the versions of a state."""


def usable_cpus() -> int:
    """Returns the CPUs that this process may use: its affinity, or less by the cgroup's quota."""
    cpus = len(os.sched_getaffinity(0))
    if _CPU_QUOTA.exists():
        quota, period = _CPU_QUOTA.read_text(encoding="ascii").split()
        if quota != "max":
            cpus = min(cpus, math.ceil(int(quota) / int(period)))
    return max(1, cpus)


def check_gpus(gpus: int) -> None:
    """Raises ConfigurationError when GPUs were asked for and cannot be used."""
    if gpus and torch.cuda.device_count() < gpus:
        raise ConfigurationError(
            f"resourcesPerNode asks for {gpus} GPU and {torch.cuda.device_count()} are visible: "
            "check the node's driver and device plugin, or ask for none"
        )


def make_fabric(*, gpus: int, threads: int) -> Fabric:
    """Returns the device in full float32, with deterministic kernels where torch has them."""
    torch.set_num_threads(threads)
    # On a GPU a few kernels of the network (interpolation backward) have no exact form.
    torch.use_deterministic_algorithms(True, warn_only=gpus > 0)
    # Exactness needs no memory filled before use; it would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return Fabric(accelerator="cuda" if gpus else "cpu", devices=1, precision="32-true")


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
