"""Installations side by side, each with exactly the rights that the chart gives it.

Who may serve what is decided in `tests/argus_operator/test_leases.py`; here it is the real
API server that grants or refuses every request.
"""

from typing import Any

import pytest

from stage.control_plane import ControlPlane, refused, requests_of
from stage.operator_process import ACCOUNT, COMMAND, NAMESPACE, Chart, OperatorProcess
from stage.simulated import make_run, runs_path, wait_phase
from stage.waiting import until

pytestmark = pytest.mark.control_plane

NAMED = "argus-named"


def asked_by(plane: ControlPlane, namespace: str) -> list[Any]:
    """Requests of the installation in this namespace."""
    asked = requests_of(plane, f"system:serviceaccount:{namespace}:{ACCOUNT}")
    assert asked, "it asked for something"
    return asked


def end_of(chart: Chart, name: str) -> str:
    """Starts an operator that is not to stay; returns what it wrote."""
    process = OperatorProcess(chart, name, None, {}, COMMAND)
    process.start()
    try:
        until(lambda: not process.is_running, 60, f"{name} to be refused:\n{process.log()}")
    finally:
        process.kill()
    return process.log()


def test_each_scope_needs_no_right_that_the_chart_does_not_give_and_the_second_is_refused(
    own_plane: ControlPlane,
) -> None:
    everything = Chart.install(own_plane)
    named = Chart.install(own_plane, NAMED, watchNamespaces=["team", "lab"])
    api = own_plane.api()
    with named.operator("named-1") as first:
        api.create(runs_path("team"), make_run("edge", runs_for="1s"))
        wait_phase(api, f"{runs_path('team')}/edge", "Succeeded")
        told = end_of(everything, "all-1")
        assert f"is served already, by {NAMED}/{ACCOUNT} (Lease " in told
        assert first.is_running
        assert first.stop() == 0
    # The other way round, once the named one is gone from its namespaces.
    for namespace in ("team", "lab"):
        api.delete(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/argus-scope")
    with everything.operator("all-2") as first:
        told = end_of(named, "named-2")
        assert f"by {NAMESPACE}/{ACCOUNT} (Lease {NAMESPACE}/argus-scope)" in told
        assert "which serves all namespaces" in told
        assert first.is_running
        assert first.stop() == 0
    assert refused(asked_by(own_plane, NAMED)) == []
    assert refused(asked_by(own_plane, NAMESPACE)) == []
