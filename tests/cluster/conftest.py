"""Argus on the whole cluster, once for all tests of this folder.

A cluster that is up already is used and left as it is; one that the tests started is
stopped at the end.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stage.commandline import argus
from stage.install import build_images, helm_install, make_namespace
from stage.kubectl import ROOT, kubectl
from stage.manifests import DATASETS

NAMESPACE = "argus-test"


def cluster(command: str) -> int:
    """Runs one command of dev/cluster; returns its exit status."""
    return subprocess.run(
        [sys.executable, "-m", "cluster", command], cwd=ROOT, env=own_environment(), check=False
    ).returncode


def own_environment() -> dict[str, str]:
    """Returns our environment with the repository's packages on the path."""
    return {**os.environ, "PYTHONPATH": "contract:operator:trainer:dev"}


@pytest.fixture(scope="session")
def installed() -> Iterator[None]:
    """The cluster with Argus installed by its chart."""
    was_up = cluster("status") == 0
    subprocess.run(
        [sys.executable, "-m", "cluster", "up"], cwd=ROOT, env=own_environment(), check=True
    )
    build_images()
    helm_install()
    yield
    if not was_up:
        cluster("down")


@pytest.fixture(scope="session")
def namespace(installed: None) -> Iterator[str]:
    """A namespace with the S3 keys; deleted at the end."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    make_namespace(NAMESPACE)
    yield NAMESPACE
    kubectl("delete", "namespace", NAMESPACE)


@pytest.fixture(scope="session")
def small_dataset(installed: None) -> str:
    """4 servers, 3 days at 5 minutes: 36 chunks; the same bytes in every run."""
    uri = f"{DATASETS}/test-small"
    argus("generate", "--servers", "4", "--hours", "72", "--seed", "7", "--output", uri)
    return uri
