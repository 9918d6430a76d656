"""Whatever a trainer answers, and whoever pretends to be one, changes its own run's progress alone.

The operator as a process asks simulated pods, each of which has its address on loopback; what
they answer is in `stage.hostile_trainers`.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from argus_contract import names
from argus_contract.names import LABEL_RUN_KEY, LABEL_RUN_NAME
from stage import hostile_trainers as hostile
from stage.api import Api, JsonObject
from stage.control_plane import ControlPlane
from stage.hostile_trainers import Answer, Crowd
from stage.operator_process import Chart
from stage.simulated import jobs_path, make_run, pods_path, runs_path, wait_phase
from stage.talking_trainers import report_at, to_wire
from stage.waiting import until

pytestmark = pytest.mark.control_plane

SECONDS = 60
MAX_GROWTH_MIB = 64
MAX_SENT = 32 * 2**20
"""Of one answer: what fits the buffers between two processes, no more."""
OWN_PROGRESS = ("progress", "checkpoint", "data", "lineage", "artifact")
LIES: dict[str, dict[str, Any]] = {
    "another-run": {"runKey": "0" * 20},
    "ended": {"phase": "Ended", "endReason": "Completed", "alreadyPublished": True},
    "failed": {"phase": "Ended", "endReason": "DataError", "message": "no data"},
    "beyond": {"claim": 10**30},
    "future": {"time": "9999-12-31T23:59:59-12:00"},
    "highest": {
        "claim": 2**53,
        "disruptions": {"count": 50, "lostSeconds": 2**53, "lostGPUSeconds": 2**53},
    },
    "nonsense": {"phase": ["Training"]},
}
BELIEVED = ("ended", "failed", "highest")
"""Lies that a trainer might tell of itself in earnest."""
PHASES = {"ended": "Publishing", "failed": "Publishing"}
"""Only the Job says that a run is over."""
SPEC = {
    "containers": [{"name": "trainer", "image": "registry.example/evil:1"}],
    "restartPolicy": "Never",
}
"""Of a pod that is no trainer."""
SILENCE: dict[str, Answer] = {
    "endless": hostile.endless,
    "announced": hostile.announced,
    "bomb": hostile.bomb,
    "endless-head": hostile.endless_head,
    "slow-head": hostile.slow_head,
    "slow-body": hostile.slow_body,
    "silent": hostile.silent,
}
"""Of these the operator learns nothing."""


def trainers(api: Api, namespace: str) -> dict[str, JsonObject]:
    """Returns the pods that run, by the name of their run."""
    running = [p for p in api.items(pods_path(namespace)) if p["status"].get("phase") == "Running"]
    return {pod["metadata"]["labels"][LABEL_RUN_NAME]: pod for pod in running}


def address_of(pod: JsonObject) -> str:
    return str(pod["status"]["podIP"])


def words_of(pod: JsonObject, step: int = 1000, **lies: Any) -> str:
    metadata = pod["metadata"]
    honest = to_wire(report_at(step, metadata["labels"][LABEL_RUN_KEY], metadata["name"]))
    return json.dumps({**json.loads(honest), **lies})


def decided(run: JsonObject) -> JsonObject:
    """Returns what the operator decides and no trainer has a say in."""
    status = run["status"]
    conditions = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    del conditions["Progressing"]
    return {**{key: status.get(key) for key in ("pending", "completionTime")}, **conditions}


@pytest.fixture
def asking(plane: ControlPlane) -> Iterator[Chart]:
    """The chart with a short interval, which is taken back for other tests."""
    yield Chart.install(plane, progress={"intervalSeconds": 1})
    Chart.install(plane, progress={"intervalSeconds": 3600})


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with Crowd().listening() as crowd:
        yield crowd


def start(api: Api, namespace: str, runs: list[str]) -> dict[str, JsonObject]:
    for name in runs:
        api.create(runs_path(namespace), make_run(name))
    until(lambda: trainers(api, namespace).keys() == set(runs), SECONDS, "each trainer to start")
    return trainers(api, namespace)


def test_no_answer_changes_more_than_its_own_runs_progress(
    plane: ControlPlane, asking: Chart, namespace: str, crowd: Crowd
) -> None:
    api, path = plane.api(), runs_path(namespace)
    everybody = ["honest", "late", "redirect", "quiet", *LIES, *SILENCE]

    def status(name: str) -> JsonObject:
        found: JsonObject = api.get(f"{path}/{name}").get("status", {})
        return found

    def step(name: str) -> int:
        return int(status(name).get("progress", {}).get("step", 0))

    with asking.operator(namespace) as operator:
        pods = start(api, namespace, everybody)
        honest, canary = address_of(pods["honest"]), "127.255.255.254"
        before = operator.rss_mib
        crowd.answers |= {address_of(pods[name]): answer for name, answer in SILENCE.items()}
        crowd.answers |= {
            address_of(pods[name]): hostile.says(words_of(pods[name], **lies))
            for name, lies in LIES.items()
        }
        crowd.answers[address_of(pods["late"])] = hostile.late(words_of(pods["late"]), seconds=1.5)
        crowd.answers[address_of(pods["redirect"])] = hostile.redirects_to(canary)
        crowd.answers[canary] = hostile.says(words_of(pods["redirect"]))
        for number in range(1, 6):
            crowd.answers[honest] = hostile.says(words_of(pods["honest"], 1000 * number))
            until(lambda at=1000 * number: step("honest") == at, SECONDS, "honest progress")
        for name in everybody:
            address = address_of(pods[name])
            until(lambda a=address: crowd.asked[a] > 1, SECONDS, f"{name} to be asked again")
        # On a busy machine an answer after 1.5 s may come after the time that it has.
        until(lambda: step("late") == 1000, SECONDS, "an answer that took long")

        assert crowd.asked[canary] == 0
        for name in SILENCE:
            address = address_of(pods[name])
            assert crowd.sent[address] < MAX_SENT * crowd.asked[address], name
        assert operator.rss_mib - before < MAX_GROWTH_MIB
        for name in everybody:
            is_believed = name in ("honest", "late", *BELIEVED)
            phase = PHASES.get(name, "Running" if is_believed else "Starting")
            assert status(name)["phase"] == phase, name
            assert decided(api.get(f"{path}/{name}")) == decided(api.get(f"{path}/quiet")), name
            assert is_believed or not {*OWN_PROGRESS} & status(name).keys(), name
            assert is_believed or status(name)["attempts"] == status(name)["metrics"] == [], name
        assert status("honest")["metrics"] == json.loads(words_of(pods["honest"], 5000))["metrics"]
        for name in everybody:
            plane.end_pod(namespace, pods[name]["metadata"]["name"])
        for name in everybody:
            wait_phase(api, f"{path}/{name}", "Succeeded")
        assert len(api.items(jobs_path(namespace))) == len(everybody)
        assert operator.is_running
        assert "Traceback" not in operator.log()


def test_a_pod_that_pretends_to_be_a_trainer_is_neither_asked_nor_believed(
    plane: ControlPlane, asking: Chart, namespace: str, crowd: Crowd
) -> None:
    api, path, pods = plane.api(), f"{runs_path(namespace)}/honest", pods_path(namespace)

    def status() -> JsonObject:
        found: JsonObject = api.get(path).get("status", {})
        return found

    with asking.operator(namespace):
        honest = start(api, namespace, ["honest"])["honest"]
        # Without those by which the Job controller would make the pod its own.
        kept = honest["metadata"]["labels"].items()
        labels = {key: value for key, value in kept if key.startswith(names.GROUP)}
        metadata = {"name": "orphan", "labels": labels}
        api.create(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": SPEC})
        metadata = {"name": "evil", "labels": labels}
        spec = {"template": {"metadata": metadata, "spec": SPEC}, "backoffLimit": 0}
        evil = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
        api.create(jobs_path(namespace), evil)

        def pretenders() -> list[JsonObject]:
            found = [pod for pod in api.items(pods) if pod["status"].get("podIP")]
            return [p for p in found if p["metadata"]["name"] != honest["metadata"]["name"]]

        until(lambda: len(pretenders()) == 2, SECONDS, "both pretenders to run")
        for pod in pretenders():
            crowd.answers[address_of(pod)] = hostile.says(words_of(pod, 99_000))
        for step in (1000, 2000, 3000):
            crowd.answers[address_of(honest)] = hostile.says(words_of(honest, step))
            until(
                lambda at=step: status().get("progress", {}).get("step") == at,
                SECONDS,
                f"step {step}, and no other",
            )
        assert [crowd.asked[address_of(pod)] for pod in pretenders()] == [0, 0]
        lies = {"phase": "Ended", "endReason": "DataError", "message": "the end"}
        for pod in pretenders():
            plane.end_pod(namespace, pod["metadata"]["name"], 65, words_of(honest, 99_000, **lies))
        crowd.answers[address_of(honest)] = hostile.says(words_of(honest, 4000))
        until(lambda: status()["progress"]["step"] == 4000, SECONDS, "the next step")
        assert status()["phase"] == "Running"
        plane.end_pod(namespace, honest["metadata"]["name"])
        wait_phase(api, path, "Succeeded")
        assert [a["pod"] for a in status()["attempts"]] == [honest["metadata"]["name"]]
