"""What a person sees and does with kubectl alone, on one run from its start to its end."""

import copy
import re

import pytest

from stage.bucket import files, read_json
from stage.kubectl import CommandFailed, apply, kubectl
from stage.manifests import small_run
from stage.node import NODE
from stage.results import model_of, printed_row
from stage.runs import Run, saved_step
from stage.trials import END_SECONDS, Alone

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LONG = {"epochs": 12}
NARROW = ["NAME", "PHASE", "PROGRESS", "ETA", "VAL-LOSS", "RESUMED", "DISRUPTED", "AGE"]
WIDE = [*NARROW, *["QUEUE", "NODE", "GPU-H", "LOST", "CKPT-AGE", "MODEL", "REASON"]]
AGE = r"(\d+[smhd]){1,2}"
"""As kubectl writes a duration: 45s, 2m10s, 12m, 3h5m."""


def names(namespace: str, *arguments: str) -> list[str]:
    printed = kubectl("get", "atj", "-n", namespace, "-o", "name", *arguments)
    return [line.rpartition("/")[2] for line in printed.splitlines()]


def test_a_run_in_the_hands_of_a_person_with_kubectl(
    namespace: str, small_dataset: str, alone: Alone
) -> None:
    beside = alone(**LONG)
    document = small_run("by-hand", small_dataset, **LONG)
    run = Run.apply(namespace, document)
    run.wait(lambda s: s.get("reason") == "Training" and saved_step(s), 240)

    assert run.name in names(namespace, "--field-selector", "status.phase=Running")
    assert run.name not in names(namespace, "--field-selector", "status.phase=Succeeded")
    printed = kubectl("get", "atj", run.name, "-n", namespace).splitlines()
    assert printed[0].split() == NARROW
    row = printed_row(run)
    assert list(row) == WIDE
    assert (row["PHASE"], row["REASON"], row["NODE"]) == ("Running", "Training", NODE)
    assert re.fullmatch(r"\d+% epoch \d+/12", row["PROGRESS"])
    assert re.fullmatch(AGE, row["ETA"])
    assert re.fullmatch(AGE, row["CKPT-AGE"])
    assert (row["RESUMED"], row["DISRUPTED"], row["MODEL"], row["QUEUE"]) == ("", "0", "", "")
    assert (row["GPU-H"], row["LOST"]) == ("0.0", "0s")

    changed = copy.deepcopy(document)
    changed["metadata"]["namespace"] = namespace
    changed["spec"]["training"]["epochs"] = 13
    with pytest.raises(CommandFailed) as refusal:
        apply(changed)
    assert "spec.training cannot be changed: make a new ArgusTrainingJob" in str(refusal.value)

    states = keep_state_when_deleted(run)

    Run.apply(namespace, document)
    run.wait(lambda s: s.get("checkpoint", {}).get("resumedFromStep"), 240)
    assert int(printed_row(run)["RESUMED"]) == max(states)
    kubectl(
        "wait", "--for=condition=Complete", f"atj/{run.name}", "-n", namespace,
        f"--timeout={END_SECONDS}s",
    )  # fmt: skip
    status, row = run.status(), printed_row(run)
    assert model_of(status) == beside.model
    assert (row["PHASE"], row["REASON"], row["ETA"]) == ("Succeeded", "Published", "")
    assert row["PROGRESS"].startswith("100% epoch ")
    assert re.fullmatch(r"0\.\d{4}", row["VAL-LOSS"])
    assert row["MODEL"] == status["artifact"]["uri"].rpartition("/")[2]
    assert row["DISRUPTED"] == "1"
    assert run.name in names(namespace, "--field-selector", "status.phase=Succeeded")
    run.delete()


def keep_state_when_deleted(run: Run) -> list[int]:
    """Deletes the run; returns the steps of the states that it leaves in the bucket."""
    status = run.status()
    run.delete()
    prefix = f"{status['resolved']['checkpointUri']}/{status['runKey']}"
    end = read_json(f"{prefix}/claims/000001-end.json")
    assert (end["reason"], end["exitCode"], end["lostSeconds"]) == ("Preempted", 75, 0)
    manifests = [name for name, _ in files(f"{prefix}/steps") if name.endswith(".json")]
    steps = [int(re.split(r"[-.]", name)[1]) for name in manifests]
    assert steps
    assert max(steps) >= saved_step(status)
    return steps
