"""Promises of the API-only size: nodes and pods without containers, and nothing left behind."""

from pathlib import Path
from typing import Any

import pytest

from cluster.simulation import RUNS_FOR
from stage.control_plane import ControlPlane, end_of_record, refused, requests_of
from stage.kubectl import CommandFailed
from stage.operator_process import USER, Chart
from stage.simulated import jobs_path, make_run, pods_path, runs_path, wait_phase
from stage.waiting import until

pytestmark = pytest.mark.control_plane


def plain_job(name: str, runs_for: str | None) -> dict[str, Any]:
    annotations = {RUNS_FOR: runs_for} if runs_for else {}
    containers = [{"name": "work", "image": "nobody/pulls:this"}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {"restartPolicy": "Never", "containers": containers},
            },
        },
    }


def true_conditions(document: dict[str, Any]) -> set[str]:
    conditions = document.get("status", {}).get("conditions", [])
    return {c["type"] for c in conditions if c["status"] == "True"}


def pod_of(plane: ControlPlane, job: str) -> dict[str, Any]:
    """Waits for the running pod of a Job in the namespace `default`."""
    pods = pods_path("default")
    api = plane.api()

    def running() -> list[dict[str, Any]]:
        found = api.items(pods, labelSelector=f"job-name={job}")
        return [pod for pod in found if pod["status"].get("phase") == "Running"]

    until(running, 30, f"the pod of {job} to run")
    return running()[0]


def test_a_pod_runs_on_an_address_of_loopback_and_ends_after_its_time(plane: ControlPlane) -> None:
    api, jobs = plane.api(), jobs_path("default")
    api.create(jobs, plain_job("short", "2s"))
    assert pod_of(plane, "short")["status"]["podIP"].startswith("127.")
    until(lambda: "Complete" in true_conditions(api.get(f"{jobs}/short")), 30, "the Job to end")


def test_a_pod_ends_as_a_test_says(plane: ControlPlane) -> None:
    api, jobs = plane.api(), jobs_path("default")
    api.create(jobs, plain_job("broken", None))
    pod = pod_of(plane, "broken")["metadata"]["name"]
    plane.end_pod("default", pod, code=3, message="out of luck")
    until(lambda: "Failed" in true_conditions(api.get(f"{jobs}/broken")), 30, "the Job to fail")
    (container,) = api.get(f"/api/v1/namespaces/default/pods/{pod}")["status"]["containerStatuses"]
    ended = container["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (3, "out of luck")


def test_a_crashed_api_server_comes_back_at_its_address_with_all_objects(
    plane: ControlPlane,
) -> None:
    plane.make_namespace("survivor")
    before = plane.addresses
    with plane.crashed("kube-apiserver"), pytest.raises(OSError, match="namespaces"):
        plane.api().get("/api/v1/namespaces/survivor")
    assert plane.addresses == before
    assert plane.api().get("/api/v1/namespaces/survivor")["status"]["phase"] == "Active"


def test_the_operator_takes_a_run_to_its_end_with_the_rights_of_the_chart(
    plane: ControlPlane, chart: Chart
) -> None:
    runs = runs_path("team")
    plane.make_namespace("team")
    api = plane.api()
    before = end_of_record(plane)
    with chart.operator() as operator:
        api.create(runs, make_run("edge", validation=None, runs_for="1s"))
        wait_phase(api, f"{runs}/edge", "Succeeded")
        assert operator.stop() == 0
    asked = requests_of(plane, USER, after=before)
    assert {"create", "list", "watch", "update"} <= {entry["verb"] for entry in asked}
    assert refused(asked) == []


def test_two_stand_beside_each_other_and_nothing_of_one_stays(
    plane: ControlPlane, tmp_path: Path
) -> None:
    with ControlPlane.running(tmp_path / "second") as second:
        assert second.addresses.api_server_port != plane.addresses.api_server_port
        second.make_namespace("elsewhere")
        assert plane.api().find("/api/v1/namespaces/elsewhere") is None
    assert not second.state.exists()
    with pytest.raises(CommandFailed, match="no cluster is running"):
        second.call("python3", "-m", "cluster", "env", "--size", "api")
