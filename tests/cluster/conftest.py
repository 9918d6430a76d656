"""Argus on the whole cluster, once for all tests of this folder.

A cluster that is up already is used and left as it is; one that the tests started is
stopped at the end, after a crash of its node: `down` must leave nothing behind then, too.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stage.commandline import argus
from stage.install import build_images, helm_install, make_namespace
from stage.kubectl import kubectl
from stage.manifests import DATASETS, small_run
from stage.parts import cluster, cluster_status
from stage.results import Outcome, outcome_of
from stage.runs import Run
from stage.trials import END_SECONDS, Alone, Trials

NAMESPACE = "argus-test"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests marked `faults`, unless the command asks for them by this name."""
    if "faults" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("faults")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def installed() -> Iterator[None]:
    """The cluster with Argus installed by its chart."""
    was_up, _ = cluster_status()
    cluster("up")
    build_images()
    helm_install()
    yield
    if not was_up:
        cluster("signal", "kubelet", "KILL")
        cluster("signal", "containerd", "KILL")
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


@pytest.fixture(scope="session")
def alone(namespace: str, small_dataset: str) -> Alone:
    """Runs that nobody disturbs, each trained once in a session."""

    @functools.cache
    def train(**training: Any) -> Outcome:
        name = "-".join(["calm", *(str(value) for value in training.values())])
        run = Run.apply(namespace, small_run(name, small_dataset, **training))
        run.wait_end(END_SECONDS)
        return outcome_of(run)

    return train


@pytest.fixture
def trials(
    record_property: Callable[[str, object], None], namespace: str, small_dataset: str
) -> Iterator[Trials]:
    """Nothing of them runs on after the test."""
    trials = Trials(namespace, small_dataset)
    yield trials
    record_property("rows", trials.rows)
    for run in trials.began:
        run.delete()
