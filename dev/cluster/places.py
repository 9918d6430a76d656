"""Addresses and folders: the only module that knows where anything lies.

Two folders. The cache holds what is expensive to make (binaries, image layers) and outlives `down`.
The state folder holds everything of one running cluster, from certificates to etcd's data; `down`
removes it whole, so nothing that must survive may be put there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .failures import MissingPrerequisite

BRIDGE = "argus0"
HOST_ADDRESS = "10.244.0.1"
"""The bridge's own address: node address, API server and S3 are found here, also from pods."""
POD_NETWORK = "10.244.0.0/24"
SERVICE_NETWORK = "10.96.0.0/16"
KUBERNETES_SERVICE_ADDRESS = "10.96.0.1"
NODE_NAME = "node-1"
API_SERVER = f"https://{HOST_ADDRESS}:6443"
ETCD = "https://127.0.0.1:2379"
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


@dataclass(frozen=True, kw_only=True)
class Places:
    """The folders of this run, as the environment of the user sets them."""

    cache: Path
    state: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Places:
        """ARGUS_DEV_STATE moves the state folder, XDG_CACHE_HOME the cache."""
        home = Path(environment.get("HOME") or "/root")
        cache_home = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
        state = Path(environment.get("ARGUS_DEV_STATE") or "/var/lib/argus-dev")
        if not state.is_absolute() or state.parent == state:
            raise MissingPrerequisite(f"ARGUS_DEV_STATE must be an absolute folder, not '{state}'")
        if len(str(state)) > NUM_STATE_PATH_CHARACTERS_MAX:
            raise MissingPrerequisite(
                f"ARGUS_DEV_STATE '{state}' is too long for unix sockets: "
                f"at most {NUM_STATE_PATH_CHARACTERS_MAX} characters"
            )
        return cls(cache=cache_home / "argus-dev", state=state)

    @property
    def programs(self) -> Path:
        """Links named kubectl, helm, ctr, etcd, ...; the folder for a user's PATH."""
        return self.cache / "bin"

    @property
    def lock(self) -> Path:
        """Held by a command that changes something, so that two cannot run at once."""
        return self.cache / "lock"

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
