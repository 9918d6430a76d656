"""A run on a real cluster: disturbed, resumed, published; and the operator killed under it."""

import copy
import os
import re
import signal
import time
from decimal import Decimal
from typing import Any

import pytest

from stage.bucket import files, read_json
from stage.commandline import argus
from stage.install import NAMESPACE as OPERATOR_NAMESPACE
from stage.kubectl import ROOT, get, kubectl
from stage.manifests import DATASETS, small_run
from stage.processes import processes_with
from stage.results import model_of
from stage.runs import PLANNER, Run
from stage.trials import Alone

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

BUNDLE_FILES = {
    "MANIFEST.json",
    "config.json",
    "dataset_parameters.pkl",
    "model.safetensors",
    "server_mapping.json",
    "training_info.json",
}


def test_a_run_that_was_preempted_and_killed_is_the_run_that_never_was(
    namespace: str, small_dataset: str, alone: Alone
) -> None:
    calm = alone()
    document = small_run("rough", small_dataset)
    document["spec"]["data"]["validation"] = {"policy": "Warn", "minServers": 1000}
    rough = Run.apply(namespace, document)
    rough.wait(lambda s: s.get("checkpoint", {}).get("step", 0) > 0 and rough.running_pod(), 240)
    first = rough.running_pod()
    rough.evict(first)
    rough.wait(
        lambda s: (
            s.get("checkpoint", {}).get("resumedFromStep")
            and rough.running_pod() not in ("", first)
        ),
        240,
    )
    resumed = rough.status()
    rough.wait(lambda s: s["checkpoint"]["step"] > resumed["checkpoint"]["resumedFromStep"], 240)
    rough.kill(rough.running_pod())
    rough_status = rough.wait_end(420)
    assert rough_status["phase"] == "Succeeded", rough_status

    assert model_of(rough_status) == calm.model
    assert judged(calm.status)[0] == "True"
    verdict, reason, message = judged(rough_status)
    assert (verdict, reason) == ("False", "BelowLimits")
    assert "data.validation.minServers is 1000, and there are 4 servers" in message
    reasons = [attempt["endReason"] for attempt in rough_status["attempts"]]
    assert reasons == ["Preempted", "Lost", "Completed"]
    assert rough_status["attempts"][0]["exitCode"] == 75
    assert rough_status["disruptions"]["count"] == 2
    assert "resumedFromStep" not in calm.status["checkpoint"]
    assert calm.status["disruptions"]["count"] == 0

    assert {name for name, _ in files(rough_status["artifact"]["uri"])} == BUNDLE_FILES
    assert set(rough_status["artifact"]["files"]) == BUNDLE_FILES
    assert re.search(r"tft_model_\d{8}_\d{6}$", rough_status["artifact"]["uri"])
    wide = kubectl("get", "argustrainingjobs", "-n", namespace, "-o", "wide").splitlines()
    row = next(line for line in wide if line.startswith("rough"))
    assert "Succeeded" in row
    assert "node-1" in row
    kubectl("wait", "--for=condition=Complete", "atj/rough", "-n", namespace, "--timeout=5s")

    reapply_the_same_yaml(namespace, Run(namespace, "rough"))


def judged(status: dict[str, Any]) -> tuple[str, str, str]:
    (found,) = [c for c in status["conditions"] if c["type"] == "DataValidated"]
    return found["status"], found["reason"], found["message"]


def reapply_the_same_yaml(namespace: str, run: Run) -> None:
    """The same YAML is the same run: it finds its bundle, or fails if it was told to."""
    document = run.resource()
    document = {key: document[key] for key in ("apiVersion", "kind", "spec")} | {
        "metadata": {"name": run.name}
    }
    bundle = run.status()["artifact"]["uri"]
    run.delete()
    again = Run.apply(namespace, document).wait_end(120)
    assert (again["phase"], again["reason"]) == ("Succeeded", "AlreadyPublished")
    assert again["artifact"]["uri"] == bundle
    assert run.jobs() == [], "a trainer was asked for"
    assert len(run.jobs(PLANNER)) == 1
    run.delete()
    strict = copy.deepcopy(document)
    strict["spec"]["output"]["existingBundlePolicy"] = "Fail"
    refused = Run.apply(namespace, strict).wait_end(120)
    assert (refused["phase"], refused["reason"]) == ("Failed", "AlreadyPublished")
    assert "runToken" in refused["message"]
    assert {name for name, _ in files(bundle)} == BUNDLE_FILES
    run.delete()


def operator_pods() -> list[str]:
    pods = get("pods", "-n", OPERATOR_NAMESPACE)["items"]
    return [pod["metadata"]["name"] for pod in pods]


def test_an_operator_killed_ten_times_leaves_one_job_and_the_truth(
    namespace: str, small_dataset: str
) -> None:
    run = Run.apply(namespace, small_run("survivor", small_dataset, epochs=12))
    kills = 0
    deadline = time.monotonic() + 420
    while kills < 10:
        assert time.monotonic() < deadline, "the operator did not come back between kills"
        for pod in operator_pods():
            for pid in processes_with("HOSTNAME", pod):
                os.kill(pid, signal.SIGKILL)
                kills += 1
        # A new pod starts at once; the same one would wait for its crash back-off.
        kubectl("delete", "pods", "-n", OPERATOR_NAMESPACE, "--all", "--force", "--grace-period=0")
        time.sleep(2 + kills % 3)
    assert run.status().get("phase") != "Succeeded", "the run was over before the tenth kill"
    status = run.wait_end(420)
    assert status["phase"] == "Succeeded", status
    assert len(run.jobs()) == 1
    assert len(run.pods()) == 1
    assert [attempt["endReason"] for attempt in status["attempts"]] == ["Completed"]
    assert status["attempts"][0]["pod"] == run.pods()[0]["metadata"]["name"]
    assert status["disruptions"]["count"] == 0
    assert status["progress"]["percentage"] == 100
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions["Complete"] == "True"
    assert conditions["ModelPublished"] == "True"


def test_real_metrics_are_learnt(namespace: str) -> None:
    uri = f"{DATASETS}/nab"
    sources = sorted(str(path) for path in (ROOT / "tests/data/nab").glob("ec2_cpu_*.csv"))
    assert len(sources) == 4
    argus("import", *sources, "--map", "value=cpu_user_pct", "--server-from-file", "--output", uri)
    document = small_run("nab", uri)
    document["spec"]["model"] |= {
        "encoderLength": 96,
        "predictionLength": 24,
        "hiddenSize": 16,
        "hiddenContinuousSize": 8,
        "targets": [{"name": "cpu_user_pct"}],
    }
    document["spec"]["training"] |= {"epochs": 3, "batchSize": 64}
    status = Run.apply(namespace, document).wait_end(900)
    assert status["phase"] == "Succeeded", status
    metrics = {metric["name"]: metric for metric in status["metrics"]}
    best = Decimal(metrics["val_loss"]["best"])
    untrained = Decimal(metrics["untrained_val_loss"]["value"])
    assert best <= untrained * Decimal("0.8"), (best, untrained)
    info = read_json(f"{status['artifact']['uri']}/training_info.json")
    assert "mem_used_pct" not in str(info), "a column that the user does not have was invented"
    assert get("jobs", "-n", namespace, "-l", "argus.tachyon.dev/run=nab")["items"]
