"""`status` and `env`: what runs here, and how to reach it."""

from __future__ import annotations

import shlex

from .api import node_is_ready
from .failures import MissingPrerequisite
from .parts import all_parts
from .places import NODE_NAME, S3_ENDPOINT, S3_REGION, S3_TLS_ENDPOINT, Places, Size
from .s3 import read_keys


def print_status(places: Places) -> bool:
    """One line per part and one for a real node; returns whether everything is well."""
    if not places.certificates.exists():
        print("no cluster is running")
        return False
    is_well = True
    for part in all_parts(places):
        process = part.process()
        health = "down" if process is None else "healthy" if part.is_healthy() else "unhealthy"
        pid, since = (process.pid, process.since) if process is not None else ("-", "-")
        print(f"{part.name:<24} {pid:<8} {health:<10} {since}")
        is_well = is_well and health == "healthy"
    if places.size is Size.API:
        return is_well
    is_ready = node_is_ready(places)
    print(f"{NODE_NAME:<24} {'-':<8} {'ready' if is_ready else 'not ready'}")
    return is_well and is_ready


def print_environment(places: Places) -> None:
    """Lines for `eval`: kubeconfig of the administrator, programs, S3 server and its keys."""
    if not places.admin_kubeconfig.exists():
        raise MissingPrerequisite("no cluster is running: start it with `up`")
    variables = {
        "KUBECONFIG": str(places.admin_kubeconfig),
        **(_of_the_node(places) if places.size is Size.WHOLE else {}),
    }
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f'export PATH={shlex.quote(str(places.programs))}:"$PATH"')


def _of_the_node(places: Places) -> dict[str, str]:
    keys = read_keys(places)
    return {
        "CONTAINERD_ADDRESS": str(places.containerd_socket),
        "CONTAINERD_NAMESPACE": "k8s.io",
        "ARGUS_S3_ENDPOINT": S3_ENDPOINT,
        "ARGUS_S3_TLS_ENDPOINT": S3_TLS_ENDPOINT,
        "ARGUS_S3_CA_FILE": str(places.authority),
        "AWS_ACCESS_KEY_ID": keys.access,
        "AWS_SECRET_ACCESS_KEY": keys.secret,
        "AWS_DEFAULT_REGION": S3_REGION,
    }
