"""A control plane with simulated nodes, and the chart on it: once for all tests of this folder.

It stands beside whatever else runs on this machine and is gone at the end.
"""

from collections.abc import Iterator

import pytest

from stage.control_plane import ControlPlane
from stage.operator_process import Chart


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane.running(tmp_path_factory.mktemp("api") / "state") as plane:
        yield plane


@pytest.fixture(scope="session")
def chart(plane: ControlPlane) -> Chart:
    """Installed for the whole cluster; nothing asks for progress."""
    return Chart.install(plane, progress={"intervalSeconds": 3600})
