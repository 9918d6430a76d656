"""A real signal in a real process at each place where it can find a run: exit 75, nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from argus_contract import layout, names
from argus_contract.exit_codes import ExitCode
from argus_contract.ledger import Claim
from argus_contract.progress import ProgressReport
from argus_contract.status import EndReason

pytestmark = [
    pytest.mark.kills,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("fleet", ["generated"], indirect=True),
]

PLANNING = (
    {"name": "argus_trainer.process.pinning:make_plan"},
    {"name": "argus_trainer.process.pinning:make_statistics"},
    {"name": "argus_trainer.process.attempt:build_network"},
    # The validation before the first step.
    {"name": "argus_trainer.training.loop:Training._validate"},
)
TRAINING = (
    # Between the parts of a step; in the wait for the next batch; in the validation after it.
    {"name": "argus_trainer.training.loop:Training._loss_of", "nth": 2},
    {"name": "lightning.fabric:Fabric.backward", "nth": 2, "after": True},
    {"name": "argus_trainer.training.loop:Training._validate"},
    # While a save is in flight.
    {
        "name": "argus_trainer.storage.local:LocalStore.put_new",
        "key": ".safetensors",
        "after": True,
    },
)
PUBLISHING = (
    {"name": "argus_trainer.checkpoints.steps:Steps.finalize"},
    {"name": "argus_trainer.process.attempt:write_bundle"},
    {"name": "argus_trainer.process.attempt:publish"},
)


def test_a_stop_is_honoured_wherever_it_comes(new_run, processes, calm):
    run = new_run("stopped")
    for place in PLANNING:
        assert stopped(processes, run, place) == ExitCode.PREEMPTED
    for number, place in zip((signal.SIGTERM, signal.SIGINT) * 2, TRAINING, strict=True):
        assert stopped(processes, run, place, number) == ExitCode.PREEMPTED
        assert said(run).checkpoint.step == newest_step(run)
    for place in PUBLISHING:
        code = stopped(processes, run, place)
        # Once the record of the model stands, the run is over whatever comes.
        assert code == (ExitCode.OK if "publish" in place["name"] else ExitCode.PREEMPTED)
    found = run.published()
    assert found == {name: calm[name] for name in found}
    ends = run.ends()
    assert [end.reason for end in ends[:-1]] == [EndReason.PREEMPTED] * (len(ends) - 1)
    assert sum(end.lost_seconds for end in ends) == 0


def stopped(processes, run, place, number=signal.SIGTERM):
    return processes.exit_code(run, at={**place, "signal": number})


def said(run):
    return ProgressReport.model_validate_json(Path(f"{run.place}-words").read_text())


def newest_step(run):
    keys = [f"steps/{path.name}" for path in (run.folder / layout.STEPS).glob("*.json")]
    return max((layout.StepId.from_manifest(key).step for key in keys), default=None)


def test_a_stop_in_a_wait_for_data_that_never_comes_is_honoured(new_run, processes, point):
    run = new_run("starved")
    run.live(point("step", 3), "SIGTERM")
    place = {"name": "argus_trainer.storage.local:LocalStore.get", "key": ".parquet", "nth": 2}
    assert stopped(processes, run, {**place, "hangs": True}) == ExitCode.PREEMPTED
    assert newest_step(run) == 3


def test_a_main_thread_that_sits_in_a_long_call_is_left_after_its_newest_state_is_saved(
    new_run, processes, point
):
    run = new_run("stuck")
    run.live(point("step", 3), "SIGTERM")
    place = {"name": "argus_trainer.training.loop:Training._loss_of", "nth": 3, "hangs": True}
    values = {
        "argus_trainer.training.pace:MOST_SHARE_OF_TIME": 0.0,
        # Every step counts as a slow one: each leaves a snapshot for whoever must save it.
        "argus_trainer.training.loop:SLOW_STEP_SECONDS": 0.0,
    }
    code = processes.exit_code(run, at={**place, "signal": signal.SIGTERM}, values=values)
    assert code == ExitCode.PREEMPTED
    assert newest_step(run) == 5
    end = run.ends()[-1]
    assert (end.reason, end.last_durable.step) == (EndReason.PREEMPTED, 5)
    assert "did not answer in time" in end.message


@pytest.mark.parametrize(
    ("number", "again"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
    ],
)
def test_a_second_signal_costs_no_step(new_run, processes, point, number, again):
    run = new_run("hurried")
    run.live(point("step", 3), "SIGTERM")
    place = {"name": "argus_trainer.training.loop:Training._loss_of", "nth": 3}
    # No other save: what was kept is the state of step 3.
    values = {"argus_trainer.training.pace:MOST_SHARE_OF_TIME": 0.0}
    code = processes.exit_code(run, at={**place, "signal": number, "again": again}, values=values)
    assert code == ExitCode.PREEMPTED
    assert newest_step(run) == 5
    assert run.ends()[-1].lost_seconds == 0


def test_a_stuck_run_ends_itself_with_what_it_has(new_run, processes, point):
    run = new_run("stuck")
    run.live(point("step", 3), "SIGTERM")
    run.launch = run.launch.model_copy(update={"progress_deadline_seconds": 5})
    place = {"name": "argus_trainer.training.loop:Training._loss_of", "nth": 3, "hangs": True}
    values = {
        "argus_trainer.training.pace:MOST_SHARE_OF_TIME": 0.0,
        "argus_trainer.training.loop:SLOW_STEP_SECONDS": 0.0,
        "argus_trainer.process.watchdog:AFTER_OUTAGE_SECONDS": 0.0,
    }
    code = processes.exit_code(run, at={**place, "signal": 0}, values=values)
    assert code == ExitCode.STUCK
    assert newest_step(run) == 5
    end = run.ends()[-1]
    assert (end.reason, end.exit_code) == (EndReason.STUCK, ExitCode.STUCK)
    assert "progressDeadlineSeconds" in end.message
    log = (run.folder / layout.claim_log(end.number)).read_text()
    assert "Thread MainThread:" in log
    assert "in wait" in log
    assert said(run).end_reason is EndReason.STUCK


@pytest.mark.parametrize("where", ["make_plan", "make_statistics"])
def test_a_start_that_is_stuck_ends_itself_as_well(new_run, processes, where):
    run = new_run("never")
    run.launch = run.launch.model_copy(update={"progress_deadline_seconds": 3})
    place = {"name": f"argus_trainer.process.pinning:{where}", "hangs": True, "signal": 0}
    values = {"argus_trainer.process.watchdog:AFTER_OUTAGE_SECONDS": 0.0}
    assert processes.exit_code(run, at=place, values=values) == ExitCode.STUCK
    assert said(run).end_reason is EndReason.STUCK
    assert "no start for" in said(run).message


def test_a_signal_is_kept_from_the_first_instant_and_taken_while_torch_is_imported(
    new_run, tmp_path
):
    run = new_run("fresh")
    run.live(None)  # planned, trained and published
    run.launch = run.launch.model_copy(update={"run_key": "f" * 20})
    for torch_is_loading in (False, True):
        process = subprocess.Popen(
            [sys.executable, "-m", "argus_trainer", "run"],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                names.ENV_LAUNCH: json.dumps(run.launch.to_wire()),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            if torch_is_loading:
                wait_until(lambda pid=process.pid: "libtorch" in maps_of(pid))
            else:
                wait_until(lambda pid=process.pid: blocks(pid, signal.SIGTERM))
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate()
        assert process.returncode == ExitCode.PREEMPTED, out
    claims = run.place / "checkpoints" / ("f" * 20) / layout.CLAIMS
    assert Claim.model_validate_json((claims / "000001.json").read_text()).resumed is None


def wait_until(happened):
    while not happened():
        time.sleep(0.001)


def maps_of(pid):
    return Path(f"/proc/{pid}/maps").read_text()


def blocks(pid, number):
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)
