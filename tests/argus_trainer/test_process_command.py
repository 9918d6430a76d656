"""The command line: the same command is the same run, and bad input is one clear line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from argus_contract.exit_codes import ExitCode
from argus_contract.launch import LaunchStorage
from argus_contract.spec import ResumePolicy
from argus_trainer.errors import ConfigurationError, DataError, UsageError
from argus_trainer.process.local import Request, start_of
from argus_trainer.process.options import in_options
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.local import LocalStore


def argus(folder, arguments, **environment) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "argus_trainer", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def request_of(tmp_path, **changes) -> Request:
    (tmp_path / "training").mkdir(exist_ok=True)
    fields = {
        "dataset": str(tmp_path / "training"),
        "output": str(tmp_path / "models"),
        "data": {},
        "model": {},
        "training": {"epochs": 20},
        "every_chunks": 5,
        "period_seconds": 60,
        "keep_last": 3,
        "resume_policy": ResumePolicy.AUTO,
        "gpus": 0,
        "fresh": False,
        "storage": LaunchStorage(),
    } | changes
    return Request(**fields)


def test_the_same_command_is_the_same_run_and_another_setting_is_another(tmp_path):
    first, again = (start_of(request_of(tmp_path)).launch for _ in range(2))
    other = start_of(request_of(tmp_path, training={"epochs": 21})).launch
    assert first == again
    assert first.run_key != other.run_key
    assert first.checkpoint.uri == str(tmp_path / "models" / "checkpoints")


def test_fresh_begins_another_run_which_the_plain_command_then_goes_on_with(tmp_path):
    plain = start_of(request_of(tmp_path)).launch
    fresh = start_of(request_of(tmp_path, fresh=True))
    assert not (tmp_path / "models").exists(), "it may still be refused"
    assert start_of(request_of(tmp_path)).launch == plain
    too_late = start_of(request_of(tmp_path, fresh=True))
    fresh.begin()
    with pytest.raises(ConfigurationError, match="start again"):
        too_late.begin()
    later = start_of(request_of(tmp_path)).launch
    fresher = start_of(request_of(tmp_path, fresh=True)).launch
    assert len({plain.run_key, fresh.launch.run_key, fresher.run_key}) == 3
    assert later.run_key == fresh.launch.run_key


def test_a_run_that_is_another_one_for_its_options_knows_of_those_before(tmp_path):
    first = start_of(request_of(tmp_path))
    assert first.others == 0
    folder = tmp_path / "models" / "checkpoints" / first.launch.run_key
    folder.mkdir(parents=True)
    (folder / "plan.json").write_bytes(b"{}")
    assert start_of(request_of(tmp_path)).others == 0
    assert start_of(request_of(tmp_path, training={"epochs": 21})).others == 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"training": {"epochs": -1}},
            "--epochs -1: Input should be greater than or equal to 1",
        ),
        (
            {"model": {"hidden_size": 10, "attention_heads": 4}},
            "--hidden-size 10 is not a multiple of --attention-heads 4: choose for example "
            "--hidden-size 8",
        ),
        ({"training": {"learning_rate": "0"}}, "--learning-rate 0 must be above 0"),
        (
            {"training": {"learning_rate": "1e-3"}},
            "--learning-rate 1e-3: write a decimal number like 0.01",
        ),
        (
            {"model": {"targets": [{"name": "a b"}], "dropout": "x"}},
            "--dropout x: write a decimal number like 0.2; --target a b: name a column: letters, "
            "digits and _, at most 16 different ones",
        ),
        (
            {"model": {"targets": [{"name": "a"}, {"name": "a"}]}},
            "--target a is given twice: name it once",
        ),
        (
            {"output": "s3://"},
            "--output 's3://' names no bucket: use s3://bucket/prefix",
        ),
        (
            {"output": "gs://b/c"},
            "--output 'gs://b/c' is no known address: use s3://bucket/prefix or a local folder",
        ),
    ],
)
def test_an_impossible_setting_is_named_as_on_the_command_line(tmp_path, changes, text):
    with pytest.raises(UsageError) as refusal:
        start_of(request_of(tmp_path, **changes))
    assert str(refusal.value) == text


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("lower model.encoderLength and model.predictionLength", 2 * ["--encoder-length"]),
        ("data.uri /data holds", ["--dataset /data holds"]),
        ("data.gaps.maxGapSteps 3 is", ["--max-gap-steps 3 is"]),
        ("data.window leaves no chunk", ["--start, --end and --lookback-days leaves no chunk"]),
        ("data.window.end 2026", ["--end 2026"]),
        (
            "use checkpoint.resumePolicy Auto, or promise with storage.singleWriter true",
            ["use --resume-policy Auto, or promise with --single-writer"],
        ),
        ("training.memoryBudget 1Gi is", ["--memory-budget 1Gi is"]),
        ("resourcesPerNode asks for 1 GPU", ["--gpus asks for 1 GPU"]),
        ("start a new run with another runToken", ["start a new run with --fresh"]),
        ("/x/model.targets: a file, training.parquet", ["/x/model.targets: a file, training.par"]),
    ],
)
def test_fields_are_named_by_their_options_and_nothing_else_is_touched(said, typed):
    assert typed[0] in in_options(said)
    assert "model.prediction" not in in_options(said)


def test_a_run_is_refused_in_the_words_of_its_command_line(tmp_path):
    dataset = tmp_path / "training"
    generate(LocalStore(dataset), servers=1, hours=24, seed=1)
    lengths = ["--encoder-length", "24", "--prediction-length", "6"]
    ended = argus(tmp_path, ["train", "--target", "absent_pct", *lengths])
    assert ended.returncode == ExitCode.DATA
    assert (
        "[RUN] DataError: --target: the data has no numeric column absent_pct; it" in ended.stdout
    )
    assert not (tmp_path / "models").exists()


def test_a_folder_that_is_not_there_is_named_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match="no such folder: make one with `argus generate`"):
        start_of(request_of(tmp_path, dataset=str(tmp_path / "absent")))


@pytest.mark.parametrize(
    ("arguments", "environment", "exit_code", "text"),
    [
        (["train", "absent"], {}, 65, "argus: --dataset absent: no such folder"),
        (["train", "a", "--dataset", "b"], {}, 64, "argus: DATASET a and --dataset b differ"),
        (["train", "s3://"], {}, 64, "argus: --dataset 's3://' names no bucket"),
        (["train", ".", "--output", ""], {}, 64, "argus: --output '' names no place"),
        (
            ["train", ".", "--output", "/dev/null/x"],
            {},
            64,
            "argus: --output /dev/null/x: /dev/null is",
        ),
        (
            ["generate", "--output", "s3://bucket/x"],
            {"AWS_ENDPOINT_URL": "minio:9000"},
            78,
            "argus: storage.endpoint (AWS_ENDPOINT_URL on a command line) 'minio:9000' is no",
        ),
        (["import", "a.csv", "--output", ""], {}, 64, "argus: --output '' names no place"),
        (["run"], {}, 64, "argus: ARGUS_LAUNCH is not set"),
        (
            ["run"],
            {"ARGUS_LAUNCH": "{}"},
            64,
            "argus: ARGUS_LAUNCH cannot be read: namespace: Field required; name: Field required; "
            "runKey: Field required; and 6 more: use",
        ),
        (["run"], {"ARGUS_LAUNCH": "x\ny"}, 64, "argus: ARGUS_LAUNCH cannot be read: 'x"),
        (["unknown"], {}, 64, "argus: No such command 'unknown'"),
        (["train", "--gpus", "-1"], {}, 64, "argus: Invalid value for '--gpus'"),
        (["generate", "--nope"], {}, 64, "argus: No such option: --nope"),
    ],
)
def test_bad_input_is_one_line_and_a_code_of_the_contract(
    tmp_path, arguments, environment, exit_code, text
):
    ended = argus(tmp_path, arguments, **environment)
    assert ended.returncode == exit_code
    assert ended.stderr.startswith(text)
    assert ended.stderr.count("\n") == 1


def test_ctrl_c_while_the_command_is_still_starting_is_one_line(tmp_path):
    generate(LocalStore(tmp_path / "training"), servers=1, hours=24, seed=1)
    # A run keeps the signal until it listens; any other command ends as shells expect.
    for arguments, exit_code, text in (
        (["train", "--gpus", "0"], 75, "[RUN] Preempted: stopped by a signal"),
        # Long enough that a busy machine does not end it first.
        (
            ["generate", "--servers", "500", "--hours", "8000", "--output", "long"],
            130,
            "argus: stopped by Ctrl-C",
        ),
    ):
        process = subprocess.Popen(
            # A shell has commands in the background ignore Ctrl-C, and these tests with them.
            ["env", "--default-signal=INT", sys.executable, "-m", "argus_trainer", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            while "pydantic_core" not in Path(f"/proc/{process.pid}/maps").read_text():
                pass
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
        assert (process.returncode, said.count("\n")) == (exit_code, 1), said
        assert said.startswith(text)
    assert not (tmp_path / "models").exists()


def test_the_command_answers_without_importing_anything_heavy():
    code = (
        "import sys, argus_trainer.commands\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'numpy', 's3fs', 'lightning'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "[]\n"
