"""Addresses and folders: the only module that knows where anything lies.

Two folders. The cache holds what is expensive to make (binaries, image layers) and outlives `down`.
The state folder holds everything of one running cluster, from certificates to etcd's data; `down`
removes it whole, so nothing that must survive may be put there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .failures import MissingPrerequisite

BRIDGE = "argus0"
HOST_ADDRESS = "10.244.0.1"
"""The bridge's own address: node address, API server and S3 are found here, also from pods."""
POD_NETWORK = "10.244.0.0/24"
SERVICE_NETWORK = "10.96.0.0/16"
KUBERNETES_SERVICE_ADDRESS = "10.96.0.1"
NODE_NAME = "node-1"
S3_MASTER_PORT, S3_VOLUME_PORT, S3_FILER_PORT = 9333, 9334, 9335
S3_PORT = 8333
S3_ENDPOINT = f"http://{HOST_ADDRESS}:{S3_PORT}"
S3_TLS_PORT = 8343
S3_TLS_ENDPOINT = f"https://{HOST_ADDRESS}:{S3_TLS_PORT}"
"""The same server; its certificate is of the cluster's own authority, which no image knows."""
S3_REGION = "us-east-1"
S3_BUCKET = "argus"
PYTHON_IMAGE = "localhost/argus-dev/python:3.11-slim-bookworm"
PAUSE_IMAGE = "localhost/argus-dev/pause:1"
CNI_PLUGINS = Path("/usr/lib/cni")

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

NUM_STATE_PATH_CHARACTERS_MAX = 40
"""A shim's socket lies in the state folder, its name has 64 characters, the kernel allows 107."""


class Size(StrEnum):
    """How much of a cluster."""

    WHOLE = "whole"
    """With a node whose kubelet runs containers, and an S3 server. Needs root; one on a machine."""
    API = "api"
    """The control plane alone; kwok plays nodes and pods. As many on a machine as state folders."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """The folders of one cluster, as the environment of the user sets them."""

    cache: Path
    state: Path
    size: Size = Size.WHOLE

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], size: Size = Size.WHOLE) -> Places:
        """ARGUS_DEV_STATE or ARGUS_DEV_API_STATE moves its folder, XDG_CACHE_HOME the cache."""
        home = Path(environment.get("HOME") or "/root")
        cache_home = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
        state_home = Path(environment.get("XDG_STATE_HOME") or home / ".local" / "state")
        variable, default = {
            Size.WHOLE: ("ARGUS_DEV_STATE", Path("/var/lib/argus-dev")),
            Size.API: ("ARGUS_DEV_API_STATE", state_home / "argus-dev-api"),
        }[size]
        state = Path(environment.get(variable) or default)
        if not state.is_absolute() or state.parent == state:
            raise MissingPrerequisite(f"{variable} must be an absolute folder, not '{state}'")
        if size is Size.WHOLE and len(str(state)) > NUM_STATE_PATH_CHARACTERS_MAX:
            raise MissingPrerequisite(
                f"{variable} '{state}' is too long for unix sockets: "
                f"at most {NUM_STATE_PATH_CHARACTERS_MAX} characters"
            )
        return cls(cache=cache_home / "argus-dev", state=state, size=size)

    @property
    def programs(self) -> Path:
        """Links named kubectl, helm, ctr, etcd, ...; the folder for a user's PATH."""
        return self.cache / "bin"

    @property
    def lock(self) -> Path:
        """Held by a command that changes a cluster of this size, so that two cannot run at once."""
        return self.cache / f"lock-{self.size}"

    @property
    def image_layers(self) -> Path:
        """Buildah's own storage, apart from any other on this machine."""
        return self.cache / "images"

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def authority(self) -> Path:
        """The certificate that all others of the cluster are checked against."""
        return self.certificates / "ca.crt"

    @property
    def configuration(self) -> Path:
        return self.state / "configuration"

    @property
    def records(self) -> Path:
        """One file per started part: process id and start time."""
        return self.state / "parts"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def audit_log(self) -> Path:
        """One line for each request of the operator; of the API-only size."""
        return self.logs / "audit.log"

    @property
    def chosen_ports(self) -> Path:
        """Which block of ports a cluster of the API-only size has."""
        return self.configuration / "ports.json"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.kubeconfig("admin")

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def s3_keys(self) -> Path:
        return self.configuration / "s3.json"

    def kubeconfig(self, user: str) -> Path:
        return self.configuration / f"{user}.kubeconfig"
