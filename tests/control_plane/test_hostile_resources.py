"""Whatever a tenant applies, or lets a trainer say, hurts nothing but its own run.

A real API server with the CRD, and the operator as a process: what the one takes, the other must
answer, and go on.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from argus_contract.exit_codes import ExitCode
from argus_contract.names import LABEL_RUN_KEY, LABEL_RUN_NAME
from argus_contract.progress import ProgressReport, TrainerPhase
from argus_contract.status import EndReason
from stage.api import Api, ApiRefused, JsonObject
from stage.control_plane import ControlPlane
from stage.hostile import by_hand, drawn
from stage.operator_process import Chart, OperatorProcess
from stage.simulated import make_run, pods_path, run_of, runs_path, wait_phase
from stage.waiting import TookTooLong, until

SEED = 20260131
CHUNK = 200
SMALL = pytest.param(100, id="small", marks=pytest.mark.control_plane)
WHOLE = pytest.param(2000, id="whole", marks=[pytest.mark.chaos, pytest.mark.timeout(1800)])
ANSWER_SECONDS = 60


@pytest.fixture(autouse=True)
def deep_documents() -> Iterator[None]:
    """This side of the wire must read and write what is nested deeply as well."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(30_000)
    yield
    sys.setrecursionlimit(before)


def refusal_of(api: Api, path: str, run: JsonObject) -> str | None:
    """Returns why the API server does not take it; None: it does."""
    try:
        api.create(path, run)
    except ApiRefused as error:
        return f"{error.status}: {error.message}"
    return None


def assert_answered(run: JsonObject) -> None:
    status = run["status"]
    said = f"{run['metadata']['name']}: {status.get('reason')}: {status.get('message')}"
    accepted = next(c for c in status["conditions"] if c["type"] == "Accepted")
    if status["phase"] == "Failed" or accepted["status"] == "False":
        assert "spec." in status["message"], said
    if status.get("reason") == "InvalidSpec":
        assert "Correct the spec and create the resource again" in status["message"], said


def assert_plain_run_succeeds(api: Api, path: str, operator: OperatorProcess) -> None:
    api.create(path, make_run("plain", runs_for="1s"))
    wait_phase(api, f"{path}/plain", "Succeeded")
    assert operator.is_running
    for sign_of_a_bug in ("Traceback", "reconcile failed"):
        assert sign_of_a_bug not in operator.log()


@pytest.mark.parametrize("number", [SMALL, WHOLE])
def test_any_resource_is_refused_by_field_or_answered_and_no_other_run_is_hurt(
    number: int,
    plane: ControlPlane,
    chart: Chart,
    namespace: str,
    told: Callable[..., None],
) -> None:
    api, path = plane.api(), runs_path(namespace)
    specs = [*by_hand(), *drawn(SEED, number)]
    outcomes: Counter[str] = Counter()
    with chart.operator(f"{namespace}-1") as operator:
        for first in range(0, len(specs), CHUNK):
            taken = set()
            for place, spec in enumerate(specs[first : first + CHUNK], start=first):
                name = f"run-{place}"
                refusal = refusal_of(api, path, run_of(name, spec))
                if refusal is None:
                    taken.add(name)
                else:
                    assert "spec" in refusal, refusal
                    outcomes["refused"] += 1

            def unanswered(names: set[str] = taken) -> set[str]:
                answered = {
                    run["metadata"]["name"]
                    for run in api.items(path)
                    if run.get("status", {}).get("phase")
                }
                return names - answered

            try:
                until(lambda: not unanswered(), ANSWER_SECONDS, "each run to get a status")
            except TookTooLong:
                left = {name: specs[int(name.rpartition("-")[2])] for name in unanswered()}
                pytest.fail(f"no status: {left}\n{operator.log()[-2000:]}")
            for run in api.items(path):
                assert_answered(run)
                outcomes[run["status"]["phase"]] += 1
            api.delete(path)
        assert_plain_run_succeeds(api, path, operator)
    assert min(outcomes["refused"], outcomes["Failed"], outcomes["Pending"]) > 0, outcomes
    told("resources of any kind, and how many were refused", len(specs), outcomes["refused"])


WORDS: dict[str, dict[str, Any]] = {
    "late": {"time": "9999-12-31T23:59:59-12:00"},
    "huge": {"claim": 10**30},
    "twice": {"metrics": [{"name": "val_loss", "value": "1", "step": 1}] * 2},
    "slow": {"metrics": [{"name": "val_loss", "value": "9e99999999", "step": 1}]},
    "falling": {
        "disruptions": {"count": 0, "lostSeconds": 0, "lostGPUSeconds": 0},
        "attempts": [
            {"number": number, "pod": "a", "start": "0001-01-01T00:00:00Z"} for number in (2, 1)
        ],
    },
    "early": {
        "disruptions": {"count": 0, "lostSeconds": 0, "lostGPUSeconds": 2**53},
        "attempts": [{"number": 1, "pod": "a", "start": "0001-01-01T00:00:00Z"}],
    },
    "stranger": {"runKey": "0" * 20},
    "emoji": {"message": "\U0001f600 \x00 \x7f \u2028 \ufffe"},
    "honest": {},
}


def words_of(run_key: str, fields: dict[str, Any]) -> str:
    report = ProgressReport(
        run_key=run_key,
        phase=TrainerPhase.ENDED,
        time=datetime.now(UTC),
        end_reason=EndReason.DATA,
        message="no data",
    )
    return json.dumps({**json.loads(report.to_termination_message()), **fields})


@pytest.mark.control_plane
def test_whatever_trainers_said_while_the_operator_was_away_it_starts_and_each_run_ends(
    plane: ControlPlane, chart: Chart, namespace: str
) -> None:
    api, path, pods = plane.api(), runs_path(namespace), pods_path(namespace)

    def running() -> dict[str, JsonObject]:
        found = [pod for pod in api.items(pods) if pod["status"].get("phase") == "Running"]
        return {pod["metadata"]["labels"][LABEL_RUN_NAME]: pod for pod in found}

    with chart.operator(f"{namespace}-2") as operator:
        for name in WORDS:
            api.create(path, make_run(name))
        until(lambda: running().keys() == WORDS.keys(), ANSWER_SECONDS, "each trainer to start")
        assert operator.stop() == 0
        for name, pod in running().items():
            text = words_of(pod["metadata"]["labels"][LABEL_RUN_KEY], WORDS[name])
            plane.end_pod(namespace, pod["metadata"]["name"], int(ExitCode.DATA), text)
        operator.start()
        operator.wait_ready()

        def phases() -> set[str]:
            return {run.get("status", {}).get("phase", "") for run in api.items(path)}

        until(lambda: phases() == {"Failed"}, ANSWER_SECONDS, "each run to fail")
        for name in WORDS:
            assert api.get(f"{path}/{name}")["status"]["reason"] == "DataError"
        assert "\U0001f600" in api.get(f"{path}/emoji")["status"]["message"]
        assert_plain_run_succeeds(api, path, operator)
