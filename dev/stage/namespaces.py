"""What an administrator lays on a namespace: a quota, a level of Pod Security."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from stage.kubectl import apply, get, kubectl
from stage.waiting import until

QUOTA = "no-pods"
LEVEL_LABEL = "pod-security.kubernetes.io/enforce"


@contextmanager
def no_pods_allowed(namespace: str) -> Iterator[None]:
    """Allows no further pod in a namespace, until the end."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": QUOTA, "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    apply(quota)
    where = ("resourcequota", QUOTA, "-n", namespace)
    try:
        until(lambda: "hard" in get(*where).get("status", {}), 30, "the quota to be in force")
        yield
    finally:
        kubectl("delete", *where)


@contextmanager
def pod_security(namespace: str, level: str) -> Iterator[None]:
    """Takes only pods of this level of Pod Security into a namespace, until the end."""
    _label(namespace, level)
    try:
        yield
    finally:
        _label(namespace, None)


def _label(namespace: str, level: str | None) -> None:
    patch = json.dumps({"metadata": {"labels": {LEVEL_LABEL: level}}})
    kubectl("patch", "namespace", namespace, "--type=merge", "-p", patch)
