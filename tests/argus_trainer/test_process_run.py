"""The whole journey in real processes: signals, resume, publishing, the second start.

One server imports torch once (`fork_server.py`); each run is a process of its own, with its
own signals.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from argus_contract import layout, names
from argus_contract.data_spec import OnChange
from argus_contract.exit_codes import ExitCode
from argus_contract.launch import Launch, LaunchData, LaunchStorage
from argus_contract.ledger import BundleManifest, Claim, ClaimEnd, Final
from argus_contract.progress import ProgressReport
from argus_contract.spec import ExistingBundlePolicy, ModelSpec, TargetSpec, TrainingSpec
from argus_contract.status import EndReason
from argus_trainer.process.run import run
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.open import open_store
from toy import SMALL, toy_launch

EPOCHS = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    generate(
        open_store(str(folder), LaunchStorage()),
        servers=3,
        hours=24,
        seed=1,
        cadence_seconds=300,
        start=datetime(2025, 12, 1, tzinfo=UTC),
    )
    return folder


@pytest.fixture(scope="module")
def processes() -> Iterator["subprocess.Popen[str]"]:
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("fork_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "GOMP_SPINCOUNT": "10000",
        },
    )
    with server:
        yield server
        server.kill()


def launch_of(data_folder: Path, place: Path, **changes) -> Launch:
    given = {"model": SMALL, "training": TrainingSpec(epochs=EPOCHS, batch_size=128)} | changes
    given_data = given.pop("data", str(data_folder))
    return toy_launch(given_data, str(place), checkpoint={"every_chunks": 2}, **given)


def exit_code_of(
    server: "subprocess.Popen[str]",
    launch: Launch,
    words: Path,
    line: str | None = None,
    number: int = 0,
) -> int:
    """Runs in a process of its own, which gets a signal when it says `line`."""
    request = {"launch": launch.to_wire(), "words": str(words), "line": line, "signal": number}
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def published(place: Path) -> tuple[Final, BundleManifest]:
    run_folder = place / "checkpoints" / "0123456789abcdef0123"
    final = Final.model_validate_json((run_folder / layout.FINAL).read_text())
    bundle = place / "models" / final.bundle_name
    return final, BundleManifest.model_validate_json((bundle / "MANIFEST.json").read_text())


def digest_of_model(manifest: BundleManifest) -> str:
    return next(file.sha256 for file in manifest.files if file.name == "model.safetensors")


def test_a_run_that_is_stopped_and_killed_publishes_the_model_of_one_that_was_not(
    data, tmp_path, processes
):
    calm, rough, words = tmp_path / "calm", tmp_path / "rough", tmp_path / "words"
    assert exit_code_of(processes, launch_of(data, calm), words) == ExitCode.OK

    launch = launch_of(data, rough)
    first_epoch, second_epoch = "[EPOCH 1/2] Starting epoch...", "[EPOCH 2/2] Starting epoch..."
    stopped = exit_code_of(processes, launch, words, first_epoch, signal.SIGTERM)
    said = ProgressReport.model_validate_json(words.read_text())
    killed = exit_code_of(processes, launch, words, second_epoch, signal.SIGKILL)
    ended = exit_code_of(processes, launch, words)

    assert (stopped, killed, ended) == (ExitCode.PREEMPTED, -signal.SIGKILL, ExitCode.OK)
    assert said.end_reason is EndReason.PREEMPTED
    assert said.checkpoint is not None
    (final, manifest), (calm_final, calm_manifest) = published(rough), published(calm)
    assert final.windows_digest == calm_final.windows_digest
    assert digest_of_model(manifest) == digest_of_model(calm_manifest)
    assert manifest.metrics == calm_manifest.metrics
    claims = rough / "checkpoints" / launch.run_key
    ends = [
        ClaimEnd.model_validate_json((claims / layout.claim_end(n)).read_text()) for n in (1, 2, 3)
    ]
    assert [end.reason for end in ends] == [
        EndReason.PREEMPTED,
        EndReason.LOST,
        EndReason.COMPLETED,
    ]
    assert ends[0].lost_seconds == 0
    resumed = Claim.model_validate_json((claims / layout.claim(2)).read_text()).resumed
    assert resumed == ends[0].last_durable
    last = ProgressReport.model_validate_json(words.read_text())
    assert last.artifact is not None
    assert last.disruptions is not None
    assert last.disruptions.count == 2
    assert {m.name for m in last.metrics} == {
        "train_loss",
        "val_loss",
        "untrained_val_loss",
        "learning_rate",
    }

    # The same launch again: found at once, by a process that never imports torch.
    second = _argus_run(launch)
    assert second.returncode == ExitCode.OK
    assert "torch: False" in second.stdout
    assert "Already published" in second.stdout
    assert "To train again, start a new run with another runToken" in second.stdout
    record = Path(launch.output.uri) / "published" / "00000001.json"
    whole = record.read_bytes()
    record.write_bytes(b"torn")
    lost = _argus_run(launch)
    record.write_bytes(whole)
    assert lost.returncode == ExitCode.DATA
    assert (
        "restore that record or the state, or start a new run with another runToken" in lost.stdout
    )
    refused = _argus_run(
        launch.model_copy(
            update={
                "output": launch.output.model_copy(
                    update={"existing_bundle_policy": ExistingBundlePolicy.FAIL}
                )
            }
        )
    )
    assert refused.returncode == ExitCode.CONFIGURATION
    assert "AlreadyPublished" in refused.stdout
    assert "runToken" in refused.stdout


def _argus_run(launch: Launch) -> "subprocess.CompletedProcess[str]":
    """Runs the pod's entry point and says whether it had imported torch."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('torch:', 'torch' in sys.modules))\n"
        "from argus_trainer.cli import main\n"
        "sys.argv = ['argus', 'run']\n"
        "main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            names.ENV_LAUNCH: json.dumps(launch.to_wire()),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("changes", "exit_code", "message"),
    [
        ({"gpus": 2}, ExitCode.CONFIGURATION, "asks for 2 GPUs"),
        ({"gpus": 1}, ExitCode.CONFIGURATION, "asks for 1 GPU and 0 are visible"),
        (
            {
                "model": ModelSpec(
                    encoder_length=24,
                    prediction_length=6,
                    targets=(TargetSpec(name="absent_pct"),),
                )
            },
            ExitCode.DATA,
            "absent_pct",
        ),
        ({"data": LaunchData(uri="nowhere")}, ExitCode.DATA, "nowhere"),
    ],
)
def test_what_cannot_work_ends_with_its_code_names_the_cause_and_leaves_nothing(
    data, tmp_path, monkeypatch, changes, exit_code, message
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    words, lines = tmp_path / "words", []
    surroundings = Surroundings(pod="pod", stop=Stop(), termination_path=words, say=lines.append)
    assert run(launch_of(data, tmp_path, **changes), surroundings) == exit_code
    assert not any("statistics" in line for line in lines)
    assert list(tmp_path.iterdir()) == [words]
    report = ProgressReport.model_validate_json(words.read_text())
    assert report.message is not None
    assert message in report.message


def run_until(word: str, launch: Launch, words: Path | None = None) -> int:
    """Runs, and asks for a stop at the first line with this word."""
    stop = Stop()

    def say(line: str) -> None:
        if word in line:
            stop.request()

    return run(launch, Surroundings(pod="pod", stop=stop, say=say, termination_path=words))


def run_until_statistics(launch: Launch, words: Path | None = None) -> int:
    return run_until("statistics", launch, words)


def test_a_budget_that_cannot_work_is_refused_before_all_is_read_and_torch_is_loaded(
    data, tmp_path
):
    too_small = TrainingSpec(memory_budget="64Ki")
    refused = _argus_run(launch_of(data, tmp_path, training=too_small))
    assert run_until("[PLAN]", launch_of(data, tmp_path, training=TrainingSpec())) == (
        ExitCode.PREEMPTED
    )
    refused_again = _argus_run(launch_of(data, tmp_path, training=too_small))
    for ended in (refused, refused_again):
        assert ended.returncode == ExitCode.CONFIGURATION
        assert "training.memoryBudget 64Ki is too small for this data" in ended.stdout
        assert "torch: False" in ended.stdout
    # With the statistics of the run at hand it is known to the byte.
    assert "3 servers in the first 1 chunk already show it" in refused.stdout
    assert "already show it" not in refused_again.stdout


def test_a_chunk_that_was_replaced_before_training_says_how_to_plan_anew(data, tmp_path):
    own = tmp_path / "data"
    shutil.copytree(data, own)
    launch, words = launch_of(own, tmp_path), tmp_path / "words"
    assert run_until_statistics(launch) == ExitCode.PREEMPTED
    chunk = sorted(own.rglob("*.parquet"))[0]
    os.utime(chunk, ns=(0, 0))

    assert run_until_statistics(launch, words) == ExitCode.DATA
    run_folder = tmp_path / "checkpoints" / launch.run_key
    message = ProgressReport.model_validate_json(words.read_text()).message
    assert message is not None
    assert f"{chunk} changed under the run" in message
    assert f"delete {run_folder}/ and start the run again" in message

    shutil.rmtree(run_folder)
    assert run_until_statistics(launch) == ExitCode.PREEMPTED


def test_under_repin_a_run_goes_on_over_a_replaced_chunk_and_says_so(data, tmp_path, processes):
    own, words = tmp_path / "data", tmp_path / "words"
    shutil.copytree(data, own)
    launch = launch_of(own, tmp_path, data=LaunchData(uri=str(own), on_change=OnChange.REPIN))
    stopped = exit_code_of(
        processes, launch, words, "[EPOCH 1/2] Starting epoch...", signal.SIGTERM
    )
    chunk = sorted(own.rglob("*.parquet"))[3]
    os.utime(chunk, ns=(0, 0))
    ended = exit_code_of(processes, launch, words)

    assert (stopped, ended) == (ExitCode.PREEMPTED, ExitCode.OK)
    final, _ = published(tmp_path)
    assert final.inexact_reason is not None
    assert f"{chunk.name} changed after the plan" in final.inexact_reason
    bundle = tmp_path / "models" / final.bundle_name
    assert json.loads((bundle / "training_info.json").read_text())["exact_resume"] is False
    repins = [*(tmp_path / "checkpoints" / launch.run_key / layout.REPINS).iterdir()]
    assert [path.name for path in repins] == ["000001.json"]


def test_a_stop_while_planning_leaves_with_nothing_to_save(data, tmp_path):
    assert run_until_statistics(launch_of(data, tmp_path)) == ExitCode.PREEMPTED
    end = tmp_path / "checkpoints" / "0123456789abcdef0123" / layout.claim_end(1)
    assert ClaimEnd.model_validate_json(end.read_text()).reason is EndReason.PREEMPTED
