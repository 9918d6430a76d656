"""The parts of the cluster: how each is started and how one sees that it is healthy.

They are listed in the order of starting. A part of a later stage needs one of an earlier stage.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .api import answers
from .places import (
    API_SERVER,
    ETCD,
    HOST_ADDRESS,
    NODE_NAME,
    S3_FILER_PORT,
    S3_MASTER_PORT,
    S3_PORT,
    S3_TLS_PORT,
    S3_VOLUME_PORT,
    SERVICE_NETWORK,
    Places,
)
from .processes import Process, recorded
from .s3 import bucket_is_there

CONTROLLER_RATE = ("--kube-api-qps=500", "--kube-api-burst=1000")
"""With the defaults (20 a second) the Job controller follows about three Jobs per second."""


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


def environment_of_parts(places: Places) -> Mapping[str, str]:
    """containerd finds its shim on PATH; runc and nft lie in the folders of the system."""
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": f"{places.programs}:{system}", "HOME": os.environ.get("HOME", "/root")}


def all_parts(places: Places, weed: Path) -> list[Part]:
    """Every part of the cluster, in the order of starting."""
    commands: list[tuple[int, tuple[str, ...], Callable[[], bool]]] = [
        (1, _etcd(places), lambda: answers(f"{ETCD}/health", places)),
        (1, _containerd(places), lambda: _accepts(places.containerd_socket)),
        (1, _seaweedfs(places, weed), lambda: bucket_is_there(places)),
        (2, _api_server(places), lambda: answers(f"{API_SERVER}/readyz", places)),
        (
            3,
            _controller_manager(places),
            lambda: answers("https://127.0.0.1:10257/healthz", places),
        ),
        (3, _scheduler(places), lambda: answers("https://127.0.0.1:10259/healthz", places)),
        (3, _kubelet(places), lambda: answers("http://127.0.0.1:10248/healthz", places)),
        (3, _proxy(places), lambda: answers("http://127.0.0.1:10256/healthz", places)),
    ]
    return [
        Part(
            name=(name := Path(argv[0]).name),
            stage=stage,
            argv=argv,
            is_healthy=is_healthy,
            record=places.records / f"{name}.json",
            log=places.logs / f"{name}.log",
        )
        for stage, argv, is_healthy in commands
    ]


def _accepts(unix_socket: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(unix_socket))
        except OSError:
            return False
    return True


def _etcd(places: Places) -> tuple[str, ...]:
    certificates = places.certificates
    peer = "https://127.0.0.1:2380"
    return (
        *(f"{places.programs}/etcd", "--name=etcd", f"--data-dir={places.state}/etcd"),
        *(f"--listen-client-urls={ETCD}", f"--advertise-client-urls={ETCD}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        f"--initial-cluster=etcd={peer}",
        *(f"--cert-file={certificates}/serving.crt", f"--key-file={certificates}/serving.key"),
        *(f"--trusted-ca-file={certificates}/ca.crt", "--client-cert-auth"),
        *(f"--peer-cert-file={certificates}/serving.crt", "--peer-client-cert-auth"),
        *(
            f"--peer-key-file={certificates}/serving.key",
            f"--peer-trusted-ca-file={certificates}/ca.crt",
        ),
        # The data dies with the cluster, so no write need reach the disk before it is answered.
        *("--unsafe-no-fsync", "--log-level=warn"),
    )


def _containerd(places: Places) -> tuple[str, ...]:
    return (f"{places.programs}/containerd", f"--config={places.configuration}/containerd.toml")


def _seaweedfs(places: Places, weed: Path) -> tuple[str, ...]:
    return (
        *(str(weed), "server", "-master.telemetry=false", f"-dir={places.state}/s3"),
        *(f"-ip={HOST_ADDRESS}", f"-ip.bind={HOST_ADDRESS}"),
        # Each port has a twin 10000 above it for gRPC.
        *(
            f"-master.port={S3_MASTER_PORT}",
            f"-volume.port={S3_VOLUME_PORT}",
            f"-filer.port={S3_FILER_PORT}",
        ),
        *("-master.volumeSizeLimitMB=64", "-volume.max=0"),
        *("-s3", f"-s3.port={S3_PORT}", f"-s3.config={places.s3_keys}"),
        *(f"-s3.port.https={S3_TLS_PORT}", f"-s3.cert.file={places.certificates}/serving.crt"),
        f"-s3.key.file={places.certificates}/serving.key",
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
    )


def _api_server(places: Places) -> tuple[str, ...]:
    certificates = places.certificates
    return (
        f"{places.programs}/kube-apiserver",
        *(f"--bind-address={HOST_ADDRESS}", f"--advertise-address={HOST_ADDRESS}"),
        *(f"--service-cluster-ip-range={SERVICE_NETWORK}", "--allow-privileged"),
        *(f"--etcd-servers={ETCD}", f"--etcd-cafile={certificates}/ca.crt"),
        f"--etcd-certfile={certificates}/api-server.crt",
        f"--etcd-keyfile={certificates}/api-server.key",
        f"--tls-cert-file={certificates}/serving.crt",
        f"--tls-private-key-file={certificates}/serving.key",
        f"--client-ca-file={certificates}/ca.crt",
        "--anonymous-auth=false",
        *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={certificates}/service-account.pub",
        f"--service-account-signing-key-file={certificates}/service-account.key",
        f"--kubelet-certificate-authority={certificates}/ca.crt",
        f"--kubelet-client-certificate={certificates}/api-server.crt",
        f"--kubelet-client-key={certificates}/api-server.key",
        "--kubelet-preferred-address-types=InternalIP",
    )


def _controller_manager(places: Places) -> tuple[str, ...]:
    certificates = places.certificates
    return (
        f"{places.programs}/kube-controller-manager",
        *_client(places, "controller-manager"),
        f"--root-ca-file={certificates}/ca.crt",
        f"--service-account-private-key-file={certificates}/service-account.key",
        "--use-service-account-credentials",
        f"--flex-volume-plugin-dir={places.state}/volume-plugins",
    )


def _scheduler(places: Places) -> tuple[str, ...]:
    return (f"{places.programs}/kube-scheduler", *_client(places, "scheduler"))


def _client(places: Places, user: str) -> tuple[str, ...]:
    kubeconfig = places.kubeconfig(user)
    certificates = places.certificates
    return (
        *("--bind-address=127.0.0.1", "--leader-elect=false", *CONTROLLER_RATE),
        f"--kubeconfig={kubeconfig}",
        *(f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}"),
        f"--tls-cert-file={certificates}/serving.crt",
        f"--tls-private-key-file={certificates}/serving.key",
    )


def _kubelet(places: Places) -> tuple[str, ...]:
    return (
        *(f"{places.programs}/kubelet", f"--config={places.configuration}/kubelet.json"),
        *(f"--kubeconfig={places.kubeconfig('kubelet')}", f"--root-dir={places.state}/kubelet"),
        *(f"--node-ip={HOST_ADDRESS}", f"--hostname-override={NODE_NAME}"),
    )


def _proxy(places: Places) -> tuple[str, ...]:
    return (f"{places.programs}/kube-proxy", f"--config={places.configuration}/proxy.json")
