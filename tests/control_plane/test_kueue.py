"""A queue of Kueue: its own Workload definition, and its controller's writes played by the test."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stage.control_plane import ControlPlane, refused, requests_of
from stage.kueue import Kueue
from stage.operator_process import USER, Chart, OperatorProcess
from stage.simulated import make_run
from stage.waiting import until

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(300)]

NO_QUOTA = (
    "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in "
    "flavor h100, 1 more needed"
)
PREEMPTED = "Preempted to accommodate a workload (UID: 4711) due to prioritization in the queue"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One of its own: every queued Job of it is made suspended."""
    with ControlPlane.running(tmp_path_factory.mktemp("api") / "state") as plane:
        plane.make_namespace("team")
        yield plane


@pytest.fixture(scope="module")
def kueue(plane: ControlPlane) -> Iterator[Kueue]:
    with Kueue.installed(plane.kubectl) as kueue:
        yield kueue


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, kueue: Kueue) -> Iterator[OperatorProcess]:
    chart = Chart.install(plane, kueue={"enabled": True}, progress={"intervalSeconds": 3600})
    with chart.operator() as process:
        yield process


def apply(plane: ControlPlane, name: str, policy: str) -> None:
    run = make_run(name, validation=policy)
    run["metadata"] |= {
        "namespace": "team",
        "labels": {
            "kueue.x-k8s.io/queue-name": "gpus",
            "kueue.x-k8s.io/priority-class": "low",
            "app.kubernetes.io/instance": "git",
        },
    }
    run["spec"]["resourcesPerNode"] = {"limits": {"cpu": "1"}}
    plane.kubectl("apply", "-f", "-", stdin=json.dumps(run))


def status_of(plane: ControlPlane, name: str) -> dict[str, Any]:
    found = json.loads(plane.kubectl("get", "atj", name, "-n", "team", "-o", "json"))
    status: dict[str, Any] = found.get("status", {})
    return status


def wait(plane: ControlPlane, name: str, **wanted: str) -> dict[str, Any]:
    """Waits for a status with these values: phase, reason, source and message of what it waits for,
    job."""

    def told() -> dict[str, str]:
        status = status_of(plane, name)
        pending = status.get("pending", {})
        return {
            "phase": status.get("phase", ""),
            "reason": status.get("reason", ""),
            "source": pending.get("source", ""),
            "message": pending.get("message", ""),
            "job": status.get("jobName", "").partition("-")[2].partition("-")[2],
        }

    until(lambda: wanted.items() <= told().items(), 60, f"{name} to be {wanted}")
    return status_of(plane, name)


def condition(status: dict[str, Any], kind: str) -> tuple[str, str, str]:
    (found,) = [c for c in status["conditions"] if c["type"] == kind]
    return found["status"], found["reason"], found["message"]


def test_a_queued_run_says_in_kueues_words_why_it_waits_and_runs_when_it_may(
    plane: ControlPlane, kueue: Kueue, operator: OperatorProcess
) -> None:
    apply(plane, "held", "Off")
    status = wait(plane, "held", phase="Queued", source="Kueue", job="1")
    job = status["jobName"]
    kueue.hold("team", job, "Pending", NO_QUOTA)
    status = wait(plane, "held", phase="Queued", reason="Pending", message=NO_QUOTA)
    assert condition(status, "Admitted") == ("False", "Pending", NO_QUOTA)
    assert "startTime" not in status
    labels = json.loads(plane.kubectl("get", "job", job, "-n", "team", "-o", "json"))["metadata"][
        "labels"
    ]
    assert labels["kueue.x-k8s.io/priority-class"] == "low"
    assert "app.kubernetes.io/instance" not in labels
    row = plane.kubectl("get", "atj", "held", "-n", "team", "-o", "wide")
    assert "Queued" in row
    assert "gpus" in row

    kueue.admit("team", job)
    # The simulated trainer answers nobody: for a minute it is taken for one that starts.
    status = wait(plane, "held", source="", reason="TrainerStarting")
    assert condition(status, "Admitted")[0] == "True"
    started = status["startTime"]

    kueue.preempt("team", job, PREEMPTED)
    status = wait(plane, "held", phase="Preempted", source="Kueue", message=PREEMPTED)
    assert condition(status, "Admitted")[:2] == ("False", "Pending")
    assert status["jobName"] == job, "the Job is Kueue's to start again"

    kueue.admit("team", job)
    status = wait(plane, "held", source="", reason="TrainerStarting")
    assert status["startTime"] == started


def test_planning_waits_in_the_queue_as_well_and_the_trainer_after_it(
    plane: ControlPlane, kueue: Kueue, operator: OperatorProcess
) -> None:
    apply(plane, "planned", "Warn")
    status = wait(plane, "planned", phase="Queued", source="Kueue", job="plan-1")
    job = status["jobName"]
    kueue.hold("team", job, "Inadmissible", "LocalQueue gpus doesn't exist")
    wait(plane, "planned", phase="Queued", reason="Inadmissible")
    kueue.admit("team", job)
    wait(plane, "planned", phase="Validating", source="Data")
    pods = json.loads(
        plane.kubectl("get", "pods", "-n", "team", "-l", f"job-name={job}", "-o", "json")
    )
    (pod,) = pods["items"]
    plane.end_pod("team", pod["metadata"]["name"])
    status = wait(plane, "planned", phase="Queued", source="Kueue", job="1")
    assert condition(status, "DataValidated")[0] == "True"


def test_kueues_workloads_are_listed_and_no_more_was_asked_of_anything(
    plane: ControlPlane, operator: OperatorProcess
) -> None:
    asked = requests_of(plane, USER)
    of_kueue = {e["verb"] for e in asked if e["objectRef"].get("resource") == "workloads"}
    assert of_kueue == {"list"}
    assert refused(asked) == []
