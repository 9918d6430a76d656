"""The command line of each part.

One description for both sizes of the cluster: what differs between them is named here and nowhere
else.
"""

from __future__ import annotations

from pathlib import Path

from .addresses import Addresses, addresses_of
from .places import (
    HOST_ADDRESS,
    NODE_NAME,
    S3_FILER_PORT,
    S3_MASTER_PORT,
    S3_PORT,
    S3_TLS_PORT,
    S3_VOLUME_PORT,
    SERVICE_NETWORK,
    Places,
    Size,
)

CONTROLLER_RATE = ("--kube-api-qps=500", "--kube-api-burst=1000")
"""With the defaults (20 a second) the Job controller follows about three Jobs per second."""
CONTROLLERS_OF_API_SIZE = (
    *("job-controller", "garbage-collector-controller", "pod-garbage-collector-controller"),
    *(
        "namespace-controller",
        "serviceaccount-controller",
        "root-ca-certificate-publisher-controller",
    ),
    *("ttl-after-finished-controller", "resourcequota-controller", "disruption-controller"),
    *(
        "node-lifecycle-controller",
        "taint-eviction-controller",
        "clusterrole-aggregation-controller",
    ),
)


def etcd(places: Places) -> tuple[str, ...]:
    certificates, at = places.certificates, addresses_of(places)
    peer = f"https://127.0.0.1:{at.etcd_peer_port}"
    return (
        *(f"{places.programs}/etcd", "--name=etcd", f"--data-dir={places.state}/etcd"),
        *(f"--listen-client-urls={at.etcd}", f"--advertise-client-urls={at.etcd}"),
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


def containerd(places: Places) -> tuple[str, ...]:
    return (f"{places.programs}/containerd", f"--config={places.configuration}/containerd.toml")


def seaweedfs(places: Places, weed: Path) -> tuple[str, ...]:
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


def api_server(places: Places) -> tuple[str, ...]:
    certificates, at = places.certificates, addresses_of(places)
    return (
        f"{places.programs}/kube-apiserver",
        *(f"--bind-address={at.host}", f"--secure-port={at.api_server_port}"),
        f"--advertise-address={at.host}",
        *(f"--service-cluster-ip-range={SERVICE_NETWORK}", "--allow-privileged"),
        *(f"--etcd-servers={at.etcd}", f"--etcd-cafile={certificates}/ca.crt"),
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
        *(_with_kubelets(places) if places.size is Size.WHOLE else _without_pods(places)),
    )


def _with_kubelets(places: Places) -> tuple[str, ...]:
    certificates = places.certificates
    return (
        f"--kubelet-certificate-authority={certificates}/ca.crt",
        f"--kubelet-client-certificate={certificates}/api-server.crt",
        f"--kubelet-client-key={certificates}/api-server.key",
        "--kubelet-preferred-address-types=InternalIP",
    )


def _without_pods(places: Places) -> tuple[str, ...]:
    return (
        # No pod will look for the service `kubernetes`, and no Endpoints take a loopback address.
        "--endpoint-reconciler-type=none",
        f"--audit-policy-file={places.configuration}/audit.json",
        *(f"--audit-log-path={places.audit_log}", "--audit-log-maxsize=1024"),
    )


def controller_manager(places: Places) -> tuple[str, ...]:
    certificates, at = places.certificates, addresses_of(places)
    return (
        f"{places.programs}/kube-controller-manager",
        *_client(places, "controller-manager", at.controller_manager_port),
        f"--root-ca-file={certificates}/ca.crt",
        f"--service-account-private-key-file={certificates}/service-account.key",
        "--use-service-account-credentials",
        f"--flex-volume-plugin-dir={places.state}/volume-plugins",
        *(
            [f"--controllers={','.join(CONTROLLERS_OF_API_SIZE)}"]
            if places.size is Size.API
            else []
        ),
    )


def scheduler(places: Places) -> tuple[str, ...]:
    port = addresses_of(places).scheduler_port
    return (f"{places.programs}/kube-scheduler", *_client(places, "scheduler", port))


def _client(places: Places, user: str, port: int) -> tuple[str, ...]:
    kubeconfig = places.kubeconfig(user)
    certificates = places.certificates
    return (
        *("--bind-address=127.0.0.1", f"--secure-port={port}"),
        *("--leader-elect=false", *CONTROLLER_RATE),
        f"--kubeconfig={kubeconfig}",
        *(f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}"),
        f"--tls-cert-file={certificates}/serving.crt",
        f"--tls-private-key-file={certificates}/serving.key",
    )


def kubelet(places: Places) -> tuple[str, ...]:
    return (
        *(f"{places.programs}/kubelet", f"--config={places.configuration}/kubelet.json"),
        *(f"--kubeconfig={places.kubeconfig('kubelet')}", f"--root-dir={places.state}/kubelet"),
        *(f"--node-ip={HOST_ADDRESS}", f"--hostname-override={NODE_NAME}"),
    )


def proxy(places: Places) -> tuple[str, ...]:
    return (f"{places.programs}/kube-proxy", f"--config={places.configuration}/proxy.json")


def kwok(places: Places, at: Addresses) -> tuple[str, ...]:
    return (
        *(f"{places.programs}/kwok", f"--config={places.configuration}/kwok.yaml"),
        *(f"--kubeconfig={places.kubeconfig('kwok')}", "--manage-all-nodes"),
        *(f"--cidr={at.pod_network}", "--node-ip=127.0.0.1"),
        f"--server-address=127.0.0.1:{at.kwok_port}",
    )
