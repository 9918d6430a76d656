"""The command line: the same command is the same run, and bad input is one clear line."""

import os
import subprocess
import sys

import pytest

from argus_contract.launch import LaunchStorage
from argus_trainer.errors import DataError, UsageError
from argus_trainer.process.local import Request, launch_of


def request_of(tmp_path, **changes) -> Request:
    (tmp_path / "training").mkdir(exist_ok=True)
    fields = {
        "dataset": str(tmp_path / "training"),
        "output": str(tmp_path / "models"),
        "model": {},
        "training": {"epochs": 20},
        "every_chunks": 5,
        "period_seconds": 60,
        "gpus": 0,
        "fresh": False,
        "storage": LaunchStorage(),
    } | changes
    return Request(**fields)


def test_the_same_command_is_the_same_run_and_another_setting_is_another(tmp_path):
    first, again = (launch_of(request_of(tmp_path)) for _ in range(2))
    other = launch_of(request_of(tmp_path, training={"epochs": 21}))
    assert first == again
    assert first.run_key != other.run_key
    assert first.checkpoint.uri == str(tmp_path / "models" / "checkpoints")


def test_fresh_begins_another_run_which_the_plain_command_then_goes_on_with(tmp_path):
    plain = launch_of(request_of(tmp_path))
    fresh = launch_of(request_of(tmp_path, fresh=True))
    later = launch_of(request_of(tmp_path))
    fresher = launch_of(request_of(tmp_path, fresh=True))
    assert len({plain.run_key, fresh.run_key, fresher.run_key}) == 3
    assert later.run_key == fresh.run_key


def test_an_impossible_setting_is_named_as_on_the_command_line(tmp_path):
    with pytest.raises(UsageError, match="--epochs -1"):
        launch_of(request_of(tmp_path, training={"epochs": -1}))
    with pytest.raises(UsageError, match="hiddenSize 10 is not a multiple"):
        launch_of(request_of(tmp_path, model={"hidden_size": 10, "attention_heads": 4}))


def test_a_folder_that_is_not_there_is_named_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match="no such folder: make one with `argus generate`"):
        launch_of(request_of(tmp_path, dataset=str(tmp_path / "absent")))


@pytest.mark.parametrize(
    ("arguments", "environment", "exit_code", "text"),
    [
        (["train", "absent"], {}, 65, "argus: --dataset absent: no such folder"),
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
    ended = subprocess.run(
        [sys.executable, "-m", "argus_trainer", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == exit_code
    assert ended.stderr.startswith(text)
    assert ended.stderr.count("\n") == 1


def test_the_command_answers_without_importing_anything_heavy():
    code = (
        "import sys, argus_trainer.cli\n"
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
