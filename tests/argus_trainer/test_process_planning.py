"""`argus plan`: what a run would do, on real folders, without torch and without a trace."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from argus_contract.launch import LaunchStorage
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.open import open_store

SIZES = ("--encoder-length", "24", "--prediction-length", "6")
RUN = """
import sys
from argus_trainer.cli import main
try:
    main()
finally:
    loaded = {"torch", "lightning", "pytorch_forecasting"} & sys.modules.keys()
    assert not loaded, loaded
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("data")
    generate(
        open_store(str(folder), LaunchStorage()),
        servers=3,
        hours=48,
        seed=1,
        cadence_seconds=300,
        start=datetime(2025, 12, 1, tzinfo=UTC),
    )
    return folder


def argus_plan(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", RUN, "plan", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_plan_is_shown_without_torch_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    shown = argus_plan(str(data), *SIZES, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert "24 of 2:00:00 in 24 objects" in lines["chunks"]
    assert "of 3 servers" in lines["rows"]
    assert lines["split"].endswith("17 training, 5 validation, 2 holdout chunks")
    assert {
        "window",
        "coverage",
        "windows",
        "epoch",
        "fetch",
        "memory",
        "mixing",
        "holds",
        "time",
        "measured",
    } <= lines.keys()
    assert shown.stdout.splitlines()[-1].startswith("verdict    nothing")
    assert not [*tmp_path.rglob("*.json")]


def test_options_of_training_count(data: Path, tmp_path: Path) -> None:
    options = ("--start", "2025-12-01T12:00:00Z", "--holdout-percent", "0", "--batch-size", "7")
    shown = argus_plan(str(data), *SIZES, *options, cwd=tmp_path)
    assert "chunks     18 of" in shown.stdout
    assert "0 holdout chunks" in shown.stdout
    assert "steps of 7 windows" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("nowhere",), 65, "no such folder"),
        (("{data}", "--encoder-length", "600"), 65, "need at least"),
        (("{data}", "--start", "2031-01-01T00:00:00Z"), 65, "no chunk of"),
        (("{data}", *SIZES, "--target", "gold_price"), 65, "no numeric column gold_price"),
        (("{data}", "--encoder-length", "0"), 64, "--encoder-length"),
        (("{data}", *SIZES, "--servers", "nobody-*"), 65, "--servers nobody-* fits no server"),
        (("{data}", *SIZES, "--factor", "gold=2"), 65, "--factor of gold is 2, and"),
        (("{data}", *SIZES, "--gpus", "2"), 78, "--gpus asks for 2 GPUs: this trainer uses one"),
        (("{data}", *SIZES, "--streaming", "--memory-budget", "1"), 78, "--memory-budget "),
    ],
)
def test_what_training_would_refuse_is_refused_alike(
    data: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    shown = argus_plan(*(a.format(data=data) for a in arguments), cwd=tmp_path)
    assert shown.returncode == code
    assert reason in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
