"""One certificate authority for the whole cluster, its certificates and the kubeconfigs of them.

Who a client is, is the subject of its certificate (CN = user, O = group); RBAC and the Node
authorizer decide from there. One serving certificate is shared by all parts. Everything is made in
a scratch folder and renamed at the end, so that an interrupted start never leaves half of it.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from .addresses import addresses_of
from .execution import execute
from .places import HOST_ADDRESS, KUBERNETES_SERVICE_ADDRESS, NODE_NAME, Places, Size

NUM_DAYS_VALID = 3650

SERVING_NAMES = (
    *("DNS:localhost", "IP:127.0.0.1", f"IP:{HOST_ADDRESS}", f"IP:{KUBERNETES_SERVICE_ADDRESS}"),
    *("DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", f"DNS:{NODE_NAME}"),
)

SUBJECT_OF_USER: Mapping[str, str] = {
    "admin": "/O=system:masters/CN=argus-dev-admin",
    "api-server": "/O=system:masters/CN=kube-apiserver-client",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
}
SUBJECT_OF_NODES: Mapping[Size, Mapping[str, str]] = {
    Size.WHOLE: {
        "proxy": "/CN=system:kube-proxy",
        "kubelet": f"/O=system:nodes/CN=system:node:{NODE_NAME}",
    },
    # It plays every node, and writes what the kubelets of all of them would write.
    Size.API: {"kwok": "/O=system:masters/CN=kwok"},
}


def make_certificates(places: Places) -> None:
    """Make the authority, all certificates and all kubeconfigs, unless they are there."""
    if places.certificates.exists():
        return
    scratch = places.certificates.with_name("certificates.unfinished")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    _openssl(
        scratch, *_new_key("ca"), "-x509", "-out", "ca.crt", *_days(), "-subj", "/CN=argus-dev"
    )
    # etcd's gateway calls etcd itself with the serving certificate, hence the second usage.
    _issue(scratch, "serving", "/CN=argus-dev", "serverAuth,clientAuth", SERVING_NAMES)
    subjects = {**SUBJECT_OF_USER, **SUBJECT_OF_NODES[places.size]}
    for user, subject in subjects.items():
        _issue(scratch, user, subject, "clientAuth", ())
    _openssl(scratch, "genrsa", "-out", "service-account.key", "2048")
    _openssl(scratch, "rsa", "-in", "service-account.key", "-pubout", "-out", "service-account.pub")
    for user in subjects:
        _write_kubeconfig(scratch, user, places)
    scratch.rename(places.certificates)


def _issue(
    folder: Path, name: str, subject: str, usage: str, alternative_names: tuple[str, ...]
) -> None:
    request = [*_new_key(name), "-subj", subject, "-out", f"{name}.csr"]
    _openssl(folder, *request)
    extensions = [f"extendedKeyUsage={usage}"]
    if alternative_names:
        extensions.append(f"subjectAltName={','.join(alternative_names)}")
    (folder / f"{name}.extensions").write_text("\n".join(extensions))
    sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key"]
    sign += ["-CAcreateserial", *_days(), "-extfile", f"{name}.extensions", "-out", f"{name}.crt"]
    _openssl(folder, *sign)


def _new_key(name: str) -> tuple[str, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    return ("req", "-new", "-nodes", *curve, "-keyout", f"{name}.key")


def _days() -> tuple[str, str]:
    return ("-days", str(NUM_DAYS_VALID))


def _openssl(folder: Path, *arguments: str) -> None:
    execute(["openssl", *arguments], step=f"openssl {arguments[0]}", folder=folder)


def _write_kubeconfig(folder: Path, user: str, places: Places) -> None:
    def embedded(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    cluster = {
        "server": addresses_of(places).api_server,
        "certificate-authority-data": embedded("ca.crt"),
    }
    identity = {
        "client-certificate-data": embedded(f"{user}.crt"),
        "client-key-data": embedded(f"{user}.key"),
    }
    # JSON is YAML, and the standard library can write it.
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "argus-dev",
        "clusters": [{"name": "argus-dev", "cluster": cluster}],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": "argus-dev", "context": {"cluster": "argus-dev", "user": user}}],
    }
    target = places.kubeconfig(user)
    target.touch(mode=0o600)
    target.write_text(json.dumps(document, indent=2))
