"""The Go programs: built once, kept in the cache under the digest of what they are built from.

Kubernetes, etcd and Helm share one binary that looks at the name it was started under, so that
client-go is compiled once. The first build takes minutes, a changed `main.go` seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .execution import execute, timed
from .places import HERE, Places, Size
from .prerequisites import require_go


@dataclass(frozen=True, kw_only=True)
class GoModule:
    """One folder under `go/` and the programs that come out of it."""

    name: str
    packages: tuple[str, ...]
    """Each is built to a file named after its last path element."""
    links: tuple[str, ...] = ()
    """Further names of the module's only program."""
    tags: str = ""
    version_of_variable: Mapping[str, str]
    """Link-time values: which variable says which module's version."""
    sizes: tuple[Size, ...] = (Size.WHOLE,)
    """What cannot be started without it."""


_COMPONENT = "k8s.io/component-base/version"
_CONTAINERD = "github.com/containerd/containerd/v2"
_TOXIPROXY = "github.com/Shopify/toxiproxy/v2"
MODULES = (
    GoModule(
        name="kubernetes",
        packages=("argus/cluster/kubernetes",),
        links=(
            *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
            *("kubelet", "kube-proxy", "kubectl", "helm"),
        ),
        version_of_variable={
            f"{_COMPONENT}.gitVersion": "k8s.io/kubernetes",
            "helm.sh/helm/v4/internal/version.version": "helm.sh/helm/v4",
        },
        sizes=(Size.WHOLE, Size.API),
    ),
    GoModule(
        name="containerd",
        packages=(
            f"{_CONTAINERD}/cmd/containerd",
            f"{_CONTAINERD}/cmd/containerd-shim-runc-v2",
            f"{_CONTAINERD}/cmd/ctr",
        ),
        tags="no_btrfs no_devmapper no_zfs",
        version_of_variable={f"{_CONTAINERD}/version.Version": _CONTAINERD},
    ),
    GoModule(
        name="toxiproxy",
        packages=(f"{_TOXIPROXY}/cmd/server",),
        links=("toxiproxy-server",),
        version_of_variable={f"{_TOXIPROXY}.Version": _TOXIPROXY},
    ),
    GoModule(name="pause", packages=("argus/cluster/pause",), version_of_variable={}),
    GoModule(
        name="kwok",
        packages=("sigs.k8s.io/kwok/cmd/kwok",),
        version_of_variable={},
        sizes=(Size.API,),
    ),
)


def build_binaries(places: Places) -> None:
    """Build what the cache lacks, and point the links in `bin` at it."""
    for module in MODULES:
        if places.size in module.sizes:
            _provide(places, module)


def program(places: Places, module_name: str) -> Path:
    """The only program of a module, built if need be: for tests that need no cluster."""
    module = next(module for module in MODULES if module.name == module_name)
    return _provide(places, module)


def _provide(places: Places, module: GoModule) -> Path:
    """Build a module if the cache lacks it, link its programs, return the last one."""
    places.programs.mkdir(parents=True, exist_ok=True)
    built = places.cache / f"{module.name}-{_digest(HERE / 'go' / module.name)}"
    with (places.cache / f"{module.name}.lock").open("w") as lock:
        # Both sizes of the cluster, and tests without one, may want it at the same time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            require_go()
            with timed(f"go build {module.name}"):
                _build(module, built)
    programs = [built / package.rpartition("/")[2] for package in module.packages]
    for path in programs:
        for name in module.links or (path.name,):
            _link(places.programs / name, path)
    return programs[-1]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _build(module: GoModule, built: Path) -> None:
    folder = HERE / "go" / module.name
    unfinished = built.with_name(f"{built.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    print(f"go build {module.name}: minutes, when Go's own cache is empty", flush=True)
    # Nobody debugs these programs: without DWARF the compilers need a tenth less time.
    compiler = ["-trimpath", "-gcflags=all=-dwarf=false", "-tags", module.tags]
    argv = ["nice", "go", "build", *compiler]
    argv += ["-ldflags", _link_flags(module, folder), "-o", f"{unfinished}/", *module.packages]
    execute(
        argv,
        step=f"go build {module.name}",
        folder=folder,
        # Memory for time: an eighth less with compilers that collect garbage four times later.
        environment={**os.environ, "CGO_ENABLED": "0", "GOGC": "400"},
    )
    unfinished.rename(built)


def _link_flags(module: GoModule, folder: Path) -> str:
    flags = ["-s", "-w"]
    for variable, of_module in module.version_of_variable.items():
        version = execute(
            ["go", "list", "-m", "-f", "{{.Version}}", of_module],
            step=f"go list -m {of_module}",
            folder=folder,
        ).strip()
        flags += ["-X", f"{variable}={version}"]
        if variable == f"{_COMPONENT}.gitVersion":
            major, minor, _ = version.removeprefix("v").split(".")
            flags += [
                "-X",
                f"{_COMPONENT}.gitMajor={major}",
                "-X",
                f"{_COMPONENT}.gitMinor={minor}",
            ]
    return " ".join(flags)


def _link(name: Path, program: Path) -> None:
    """Replace a link in one step: a program may be starting through it at this moment."""
    fresh = name.with_name(f".{name.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(program)
    fresh.replace(name)
