"""Planning on a CPU, before a GPU is asked for."""

import json

import pytest

from stage.bucket import filesystem
from stage.kubectl import get, kubectl
from stage.manifests import small_run
from stage.results import printed_row
from stage.runs import PLANNER, Run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_data_below_a_limit_ends_the_run_before_a_gpu_is_asked_for(
    namespace: str, small_dataset: str
) -> None:
    document = small_run("below-a-limit", small_dataset)
    document["spec"]["data"]["validation"] = {"policy": "Enforce", "minServers": 1000}
    document["spec"]["resourcesPerNode"] = {"limits": {"nvidia.com/gpu": "1", "memory": "4Gi"}}
    run = Run.apply(namespace, document)
    status = run.wait(lambda s: s.get("phase") == "Failed", 180)
    assert status["reason"] == "DataRefused"
    for words in ("data.validation.minServers is 1000", "there are 4 servers", "policy Warn"):
        assert words in status["message"]
    assert status["data"]["servers"] == 4
    assert "startTime" not in status
    row = printed_row(run)
    assert (row["PHASE"], row["REASON"], row["GPU-H"]) == ("Failed", "DataRefused", "0.0")
    kubectl("wait", "--for=condition=DataValidated=false", "atj/below-a-limit", "-n", namespace)
    assert run.jobs() == []
    (planning,) = run.jobs(PLANNER)
    (container,) = planning["spec"]["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in json.dumps(container["resources"])
    checkpoints = f"{status['resolved']['checkpointUri']}/{status['runKey']}"
    assert not filesystem().exists(checkpoints), "a plan that nobody trains on was stored"
    run.delete()


def test_good_data_is_planned_once_and_the_gpu_that_is_not_there_is_waited_for_afterwards(
    namespace: str, small_dataset: str
) -> None:
    document = small_run("planned", small_dataset)
    document["spec"]["resourcesPerNode"] = {"limits": {"nvidia.com/gpu": "1", "memory": "4Gi"}}
    run = Run.apply(namespace, document)
    status = run.wait(lambda s: s.get("pending", {}).get("source") == "Scheduler", 180)
    assert "Insufficient nvidia.com/gpu" in status["pending"]["message"]
    assert (status["data"]["servers"], status["phase"]) == (4, "Pending")
    kubectl("wait", "--for=condition=DataValidated", "atj/planned", "-n", namespace)
    (pod,) = run.pods(PLANNER)
    assert pod["status"]["phase"] == "Succeeded"
    # A planner of a few seconds may end before the status has told of it: its times do.
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"]
    assert [job["metadata"]["creationTimestamp"] >= ended for job in run.jobs()] == [True]
    log = run.log(pod["metadata"]["name"])
    assert "[PLAN] windows" in log
    uid = run.resource()["metadata"]["uid"]
    events = get("events", "-n", namespace, "--field-selector", f"involvedObject.uid={uid}")
    told = [event["reason"] for event in events["items"]]
    assert told.count("DataValidated") == 1
    assert told.count("JobCreated") == 2
    run.delete()
