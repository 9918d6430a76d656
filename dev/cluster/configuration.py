"""Configuration files: of the parts that run pods, or of those that only play them.

Kubernetes reads YAML, of which JSON is a part, so the standard library can write it.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from pathlib import Path

from .places import CNI_PLUGINS, HOST_ADDRESS, NODE_NAME, PAUSE_IMAGE, Places, Size
from .simulation import audit_policy, kwok_documents


def write_configuration(places: Places) -> None:
    """Write every file anew, except the S3 keys: those stay as long as the cluster."""
    folder = places.configuration
    if places.size is Size.API:
        # kwok takes several documents, which JSON has no word for; each line of YAML may be one.
        documents = [json.dumps(document) for document in kwok_documents()]
        (folder / "kwok.yaml").write_text("\n---\n".join(documents))
        _write(folder / "audit.json", audit_policy())
        return
    (folder / "containerd.toml").write_text(_containerd(places))
    _write(folder / "kubelet.json", _kubelet(places))
    _write(folder / "proxy.json", _proxy(places))
    if not places.s3_keys.exists():
        places.s3_keys.touch(mode=0o600)
        _write(places.s3_keys, _s3())


def _write(file: Path, document: dict[str, object]) -> None:
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(document, indent=2))
    unfinished.replace(file)


def _containerd(places: Places) -> str:
    # restrict_oom_score_adj: a root without CAP_SYS_RESOURCE may not lower oom_score_adj, and
    # every sandbox would fail with "can't get final child's PID from pipe: EOF".
    return f"""\
version = 3
root = '{places.state}/containerd'
state = '{places.state}/run'

[grpc]
address = '{places.containerd_socket}'

[ttrpc]
address = '{places.containerd_socket}.ttrpc'

[plugins.'io.containerd.shim.v1.manager']
socket_dir = '{places.state}/s'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{CNI_PLUGINS}']
use_internal_loopback = true
conf_dir = '{places.configuration}/cni'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
options = {{ Root = '{places.state}/runc' }}
"""


def _kubelet(places: Places) -> dict[str, object]:
    certificates = places.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": HOST_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificates / "serving.crt"),
        "tlsPrivateKeyFile": str(certificates / "serving.key"),
        "containerRuntimeEndpoint": f"unix://{places.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        # The score of a kubelet needs CAP_SYS_RESOURCE.
        "oomScoreAdj": 0,
        # Rules of the time of iptables; kube-proxy runs on nftables and they would outlive `down`.
        "makeIPTablesUtilChains": False,
        # A developer's disk is often nearly full; the default (10 %) would evict every pod.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        # There is no registry to pull a collected image from again.
        "imageGCHighThresholdPercent": 100,
        "maxPods": 200,
        "podLogsDir": str(places.logs / "pods"),
        "volumePluginDir": str(places.state / "volume-plugins"),
        "clusterDNS": _nameservers(),
    }


def _nameservers() -> list[str]:
    """Servers that a pod can ask as well; there is no DNS of the cluster, Services have no names.

    Without any the kubelet gives pods the file of the host, and writes a warning for each pod.
    """
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    addresses = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    return [a for a in addresses if "%" not in a and not ipaddress.ip_address(a).is_loopback]


def _proxy(places: Places) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(places.kubeconfig("proxy"))},
        "hostnameOverride": NODE_NAME,
        "mode": "nftables",
        # Two pods on one bridge answer each other directly, so without this the answer of a Service
        # would come from an address that the asking pod does not know.
        "nftables": {"masqueradeAll": True},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [f"{HOST_ADDRESS}/32"],
        "oomScoreAdj": 0,
        # Zero leaves the machine's own limits as they are.
        "conntrack": {
            "maxPerCore": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _s3() -> dict[str, object]:
    keys = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "argus", "credentials": [keys], "actions": actions}]}
