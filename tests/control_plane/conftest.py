"""A control plane with simulated nodes, and the chart on it: once for all tests of this folder.

It stands beside whatever else runs on this machine and is gone at the end.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stage.control_plane import ControlPlane
from stage.operator_process import Chart
from stage.simulated import runs_path


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane.running(tmp_path_factory.mktemp("api") / "state") as plane:
        yield plane


@pytest.fixture
def own_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Nobody else's installation stands here."""
    with ControlPlane.running(tmp_path / "own") as plane:
        yield plane


@pytest.fixture(scope="session")
def chart(plane: ControlPlane) -> Chart:
    """Installed for the whole cluster; nothing asks for progress."""
    return Chart.install(plane, progress={"intervalSeconds": 3600})


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own, without runs at its end."""
    name = f"test-{time.time_ns() % 10**6}"
    plane.make_namespace(name)
    yield name
    plane.api().delete(runs_path(name))


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Keeps a row for the table of `make chaos`."""
    began, rows = time.monotonic(), []

    def tell(what: str, runs: int, times: int, **more: object) -> None:
        seconds = round(time.monotonic() - began)
        rows.append({"what": what, "runs": runs, "times": times, "seconds": seconds, **more})
        record_property("rows", rows)

    return tell
