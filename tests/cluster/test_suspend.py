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


def told(status: dict[str, Any]) -> dict[str, Any]:
    """Returns a status without the generation that it speaks of."""
    conditions = [{**c, "observedGeneration": None} for c in status["conditions"]]
    return {**status, "observedGeneration": None, "conditions": conditions}


def test_a_suspended_run_gives_its_node_back_and_goes_on_from_its_last_state(
    namespace: str, small_dataset: str
) -> None:
    run = Run.apply(namespace, small_run("paused", small_dataset))
    run.wait(lambda s: s.get("checkpoint", {}).get("step", 0) > 0 and run.running_pod(), 240)
    (first,) = run.jobs()

    change(run, suspend=True)
    run.wait(lambda s: s.get("phase") == "Suspended", 120)
    assert run.running_pod() == ""
    assert run.jobs() == []

    resources = {"requests": {"cpu": "400m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
    change(run, resourcesPerNode=resources)
    change(run, suspend=False)
    status = run.wait_end(420)
    assert status["phase"] == "Succeeded", status
    step = status["checkpoint"]["resumedFromStep"]
    assert step > 0
    assert [attempt["startStep"] for attempt in status["attempts"]] == [0, step]
    assert [attempt["exitCode"] for attempt in status["attempts"]] == [75, 0]
    (second,) = run.jobs()
    assert second["metadata"]["name"] == first["metadata"]["name"][:-1] + "2"
    (container,) = second["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == resources
    reasons = kubectl(
        "get", "events", "-n", namespace, "-o", "jsonpath={.items[*].reason}",
        "--field-selector", f"involvedObject.uid={run.resource()['metadata']['uid']}",
    ).split()  # fmt: skip
    assert {"Suspended", "Resumed", "Published"} <= set(reasons)

    names = [f"pod/{pod['metadata']['name']}" for pod in run.pods()]
    change(run, ttlSecondsAfterFinished=1)
    for name in (f"job/{second['metadata']['name']}", *names):
        kubectl("wait", "--for=delete", name, "-n", namespace, "--timeout=60s")
    # What changed after the end is seen, or this would wait for ever; nothing else is otherwise.
    kubectl(
        "wait", "--for=condition=Complete", f"atj/{run.name}", "-n", namespace, "--timeout=30s"
    )  # fmt: skip
    assert told(run.status()) == told(status)
    run.delete()
