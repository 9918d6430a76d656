"""What somebody changes between two looks: right after a Job was made, and after the end."""

import pytest

from argus_contract.names import KUEUE_QUEUE_LABEL
from stage.control_plane import ControlPlane
from stage.operator_process import Chart
from stage.simulated import jobs_path, make_run, pods_path, runs_path, wait_phase
from stage.waiting import until

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(300)]


def test_a_label_before_the_first_status_and_a_change_after_the_end(
    plane: ControlPlane, chart: Chart, namespace: str
) -> None:
    api, path = plane.api(), f"{runs_path(namespace)}/edge"
    with chart.operator("changes"):
        api.create(runs_path(namespace), make_run("edge"))
        until(lambda: api.items(jobs_path(namespace)), 30, "the Job to be made")
        api.patch(path, {"metadata": {"labels": {KUEUE_QUEUE_LABEL: "q"}}})
        wait_phase(api, path, "Running", "Starting")
        api.patch(path, {"spec": {"suspend": True}})
        wait_phase(api, path, "Suspended")
        assert api.items(jobs_path(namespace)) == []
        api.patch(path, {"spec": {"suspend": False}})
        until(lambda: api.get(path)["status"]["phase"] == "Pending", 30, "the queue to be refused")
        assert api.get(path)["status"]["reason"] == "KueueNotEnabled"
        api.patch(path, {"metadata": {"labels": {KUEUE_QUEUE_LABEL: None}}})
        pods, running = pods_path(namespace), {"fieldSelector": "status.phase=Running"}
        until(lambda: api.items(pods, **running), 30, "the next pod to run")
        (pod,) = api.items(pods, **running)
        plane.end_pod(namespace, pod["metadata"]["name"])
        wait_phase(api, path, "Succeeded")
        api.patch(path, {"spec": {"ttlSecondsAfterFinished": 3600}})
        plane.kubectl(
            *("wait", "--for=condition=Complete", "atj/edge", "-n", namespace, "--timeout=30s")
        )
