"""A run that a person stops, changes, and lets go on; and what is left of it in the end."""

import json
from typing import Any

import pytest

from stage.kubectl import kubectl
from stage.manifests import small_run
from stage.runs import Run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def change(run: Run, **fields: Any) -> None:
    patch = json.dumps({"spec": fields})
    kubectl("patch", "atj", run.name, "-n", run.namespace, "--type=merge", "-p", patch)


def test_a_suspended_run_gives_its_node_back_and_goes_on_from_its_last_state(
    namespace: str, small_dataset: str
) -> None:
    run = Run.apply(namespace, small_run("paused", small_dataset, epochs=3))
    run.wait(lambda s: s.get("checkpoint", {}).get("step", 0) > 0 and run.running_pod(), 240)
    (first,) = run.jobs()

    change(run, suspend=True)
    status = run.wait(lambda s: s["phase"] == "Suspended", 120)
    assert run.pods() == []
    assert run.jobs() == []
    assert [attempt["exitCode"] for attempt in status["attempts"]] == [75]
    step = status["attempts"][0]["endStep"]
    assert step > 0

    resources = {"requests": {"cpu": "400m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
    change(run, resourcesPerNode=resources)
    change(run, suspend=False)
    status = run.wait_end(420)
    assert status["phase"] == "Succeeded", status
    assert status["checkpoint"]["resumedFromStep"] == step
    assert [attempt["startStep"] for attempt in status["attempts"]] == [0, step]
    (second,) = run.jobs()
    assert second["metadata"]["name"] == first["metadata"]["name"][:-1] + "2"
    (container,) = second["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == resources
    events = kubectl("events", "--for", f"atj/{run.name}", "-n", namespace)
    for word in ("Suspended", "Resumed", "TrainingResumed", "Published"):
        assert word in events

    change(run, ttlSecondsAfterFinished=1)
    selector = f"argus.tachyon.dev/run={run.name}"
    kubectl("wait", "--for=delete", "pods,jobs", "-l", selector, "-n", namespace, "--timeout=60s")
    assert run.status() == status
    run.delete()
