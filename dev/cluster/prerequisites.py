"""What this machine must have, checked before anything is changed.

Debian packages are installed when missing; everything else is named in one line.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from .execution import execute, succeeds, timed
from .failures import MissingPrerequisite
from .places import CNI_PLUGINS, REPOSITORY, Size

PACKAGE_OF_PROGRAM: Mapping[str, str] = {
    "openssl": "openssl",
}
PACKAGE_OF_NODE_PROGRAM: Mapping[str, str] = {
    "buildah": "buildah",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "runc": "runc",
    str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
}


def require_system(size: Size) -> None:
    """Namespaces, cgroups and mounts of the whole cluster are made on this machine itself."""
    if sys.platform != "linux":
        raise MissingPrerequisite(f"the development cluster needs Linux, this is {sys.platform}")
    if size is Size.WHOLE and os.geteuid() != 0:
        raise MissingPrerequisite(
            "the whole development cluster needs root: run it with sudo, or take --size api"
        )


def require_go() -> None:
    """Asked only when a binary is really missing from the cache."""
    if shutil.which("go") is None:
        raise MissingPrerequisite("Go 1.26 or newer is not on PATH: see https://go.dev/dl")


def find_weed() -> Path:
    """SeaweedFS' program comes with the project's Python environment."""
    in_environment = REPOSITORY / ".venv" / "bin" / "weed"
    if in_environment.exists():
        return in_environment
    on_path = shutil.which("weed")
    if on_path is None:
        raise MissingPrerequisite("SeaweedFS' weed is not in .venv/bin or on PATH: make .venv")
    return Path(on_path)


def install_packages(size: Size) -> None:
    """Install the Debian packages whose programs are missing."""
    needed = {**PACKAGE_OF_PROGRAM, **(PACKAGE_OF_NODE_PROGRAM if size is Size.WHOLE else {})}
    missing = sorted({p for program, p in needed.items() if not shutil.which(program)})
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise MissingPrerequisite(f"no root on a Debian, so install by hand: {' '.join(missing)}")
    with timed(f"packages {' '.join(missing)}"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
        # The package lists of a fresh machine are empty or too old to find the files.
        if not succeeds([*install, "--download-only"]):
            execute(["apt-get", "update", "-q"], step="apt-get update", environment=environment)
        execute(install, step="apt-get install", environment=environment)
