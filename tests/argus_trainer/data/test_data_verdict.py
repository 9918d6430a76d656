"""`argus plan` comes to the verdict of training: the same words and the same exit code."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from argus_contract.launch import Launch
from argus_contract.spec import TrainingSpec
from argus_trainer.data import sample as sampling
from argus_trainer.errors import ArgusError
from argus_trainer.process.options import in_options
from argus_trainer.process.planning import show
from argus_trainer.process.run import run
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings

Change = Callable[[pd.DataFrame], pd.DataFrame]


def same(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def empty_target(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(cpu_user_pct=np.nan)


def every(n: int) -> Change:
    """Keeps each n-th step, and all of the first hour, which tells the cadence."""

    def thin(frame: pd.DataFrame) -> pd.DataFrame:
        step = (frame["timestamp"] - frame["timestamp"].min()).dt.total_seconds() // 600
        return frame[(step < 6) | (step % n == 0)]

    return thin


def two_of_three(frame: pd.DataFrame) -> pd.DataFrame:
    step = (frame["timestamp"] - frame["timestamp"].min()).dt.total_seconds() // 600
    return frame[step % 3 > 0]


def another_cadence(frame: pd.DataFrame) -> pd.DataFrame:
    hour = frame["timestamp"].dt.hour + 24 * frame["timestamp"].dt.dayofyear
    return frame[(hour < hour.min() + 10) | (frame["timestamp"].dt.minute % 20 == 0)]


def short_lived(frame: pd.DataFrame) -> pd.DataFrame:
    """Each server is there for an hour and gone for three."""
    place = frame["server_name"].map({"ppdb1": 0, "ppweb1": 1, "srv1": 2})
    return frame[frame["timestamp"].dt.hour % 4 == place]


def words(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(mem_used_pct=frame["mem_used_pct"].astype(str))


CASES: dict[str, tuple[Change, dict[str, Any], int, str]] = {
    "patterns that fit nobody": (
        same,
        {"rules_of_data": {"servers": {"include": ["web-*"]}}},
        65,
        "--servers web-* fits no server (there are others, as ppdb1, ppweb1, srv1): correct",
    ),
    "patterns that fit nobody, on a grid": (
        same,
        {"rules_of_data": {"servers": {"exclude": ["*"]}, "cadence_seconds": 1_200}},
        65,
        "--exclude-servers * leaves out every server (there are others, as ppdb1, ppweb1, srv1)",
    ),
    "patterns that take each other's servers": (
        same,
        {"rules_of_data": {"servers": {"include": ["pp*"], "exclude": ["*1"]}}},
        65,
        "--servers pp* fits no server that --exclude-servers *1 lets pass",
    ),
    "a factor of a column that is not there": (
        same,
        {"rules_of_data": {"columns": [{"name": "gold", "factor": "100"}]}},
        65,
        "--factor of gold is 100, and ",
    ),
    "an aggregate of a column that is not there": (
        same,
        {"rules_of_data": {"columns": [{"name": "gold", "aggregate": "Max"}]}},
        65,
        "--aggregate of gold is Max, and ",
    ),
    "a target that is not there": (same, {"targets": ["gold"]}, 65, "no numeric column gold"),
    "a target without one value": (
        empty_target,
        {},
        65,
        "--target cpu_user_pct has no value in any of 648 rows: record it, or name other targets",
    ),
    "targets that are never recorded together": (
        lambda frame: frame.assign(
            cpu_user_pct=frame["cpu_user_pct"].where(frame.index % 2 == 0),
            load_average=frame["load_average"].where(frame.index % 2 == 1),
        ),
        {"targets": ["cpu_user_pct", "load_average"]},
        65,
        "none of 648 rows has a value of each of --target cpu_user_pct, load_average",
    ),
    "too few steps observed": (
        two_of_three,
        {"encoder": 10, "decoder": 5},
        65,
        "none has the steps observed that --min-observed-percent 80 asks for: record without "
        "gaps, or lower --min-observed-percent to at most 60",
    ),
    "gaps": (
        every(5),
        {"encoder": 10, "decoder": 6, "rules_of_data": {"gaps": {"minObservedPercent": 15}}},
        65,
        "each has a gap over --max-gap-steps 3: record without gaps, or raise --max-gap-steps to "
        "at least 4",
    ),
    "gaps and too few steps observed": (
        every(5),
        {"encoder": 10, "decoder": 6},
        65,
        "raise --max-gap-steps to at least 4 and lower --min-observed-percent to at most",
    ),
    "no server for long enough": (
        short_lived,
        {"encoder": 6, "decoder": 3},
        65,
        "none of them observed at both ends of 1:30:00: record longer, or lower --encoder-length",
    ),
    "a stride over everything": (
        same,
        {"stride": 99_991},
        65,
        "none of them ends at a multiple of --window-stride 99991: lower it",
    ),
    "a second cadence": (another_cadence, {}, 65, "has a row every 1200 s and the dataset every"),
    "words for numbers": (words, {}, 65, "column mem_used_pct is"),
    "no such zone": (same, {"rules_of_data": {"time_zone": "Mars/Olympus"}}, 78, "--time-zone"),
}


def launch_of(fleet: Any, tmp_path: Path) -> Launch:
    launch = fleet.launch()
    return launch.model_copy(
        update={
            "checkpoint": launch.checkpoint.model_copy(update={"uri": str(tmp_path / "states")}),
            "output": launch.output.model_copy(update={"uri": str(tmp_path / "models")}),
        }
    )


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """How a plan or a training ended, and in which words."""

    exit_code: int
    text: str


def planned(launch: Launch, say: Callable[[str], None] = lambda line: None) -> Refusal:
    with pytest.raises(ArgusError) as refusal:
        show(launch, say)
    return Refusal(exit_code=int(refusal.value.exit_code), text=str(refusal.value))


def trained(launch: Launch, said: list[str] | None = None) -> Refusal:
    said = [] if said is None else said
    exit_code = run(launch, Surroundings(pod="pod", stop=Stop(), say=said.append))
    last = next(line for line in reversed(said) if line.startswith("[RUN] "))
    return Refusal(exit_code=exit_code, text=last.removeprefix("[RUN] ").partition(": ")[2])


@pytest.mark.parametrize(("change", "options", "code", "text"), CASES.values(), ids=CASES)
def test_what_training_refuses_is_refused_by_a_plan_in_the_same_words(
    rows, write, run_over, tmp_path, change, options, code, text
) -> None:
    launch = launch_of(run_over(write(change(rows())), **options), tmp_path)
    plan, training = planned(launch), trained(launch)
    assert plan == training
    assert plan.exit_code == code
    assert text in in_options(plan.text)
    assert "\n" not in plan.text


@pytest.mark.parametrize("budget", ["1", "1Ki"])
def test_a_budget_below_the_least_is_refused_alike(prepared, tmp_path, budget) -> None:
    launch = launch_of(prepared(), tmp_path)
    launch = launch.model_copy(update={"training": TrainingSpec(memory_budget=budget)})
    plan, training = planned(launch), trained(launch)
    # A training is refused before it has read everything, and says so.
    words, _, cause = training.text.partition("; ")
    assert words == plan.text
    assert cause.endswith("already show it, so the rest was not read")
    assert plan.exit_code == training.exit_code == 78


@pytest.mark.parametrize("gpus", [1, 2])
def test_gpus_that_are_not_there_are_refused_alike(prepared, tmp_path, monkeypatch, gpus) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    launch = launch_of(prepared(), tmp_path).model_copy(update={"gpus": gpus})
    plan = planned(launch)
    assert plan == trained(launch)
    assert plan.exit_code == 78


SEEN_BY_A_SAMPLE = (
    "patterns that fit nobody, on a grid",
    "a target without one value",
    "too few steps observed",
    "gaps",
)


@pytest.mark.parametrize("case", SEEN_BY_A_SAMPLE)
def test_a_refusal_that_rests_on_a_sample_says_so(
    rows, write, run_over, tmp_path, monkeypatch, case
) -> None:
    monkeypatch.setattr(sampling, "MOST_QUICK", 0)
    monkeypatch.setattr(sampling, "MOST_SAMPLED", 8)
    change, options, code, text = CASES[case]
    launch = launch_of(run_over(write(change(rows(chunks=30))), **options), tmp_path)
    plan = planned(launch)
    start = text.partition(" in any of")[0].partition(" to at")[0]
    assert start in in_options(plan.text)
    assert plan.text.endswith(" of 30 objects were read)")
    assert "an estimate" in plan.text
    assert plan.exit_code == trained(launch).exit_code == code


def test_a_budget_that_a_sample_finds_too_small_says_so(prepared, tmp_path, monkeypatch) -> None:
    fleet = prepared()
    launch = launch_of(fleet, tmp_path)
    monkeypatch.setattr(sampling, "MOST_QUICK", 0)
    monkeypatch.setattr(sampling, "MOST_SAMPLED", 8)
    launch = launch.model_copy(
        update={"training": TrainingSpec(memory_budget=str(fleet.memory.least - 50_000))}
    )
    plan = planned(launch)
    assert plan.text.startswith("training.memoryBudget")
    assert plan.text.endswith("(an estimate: 8 of 20 objects were read)")
    assert plan.exit_code == 78


def test_what_nothing_is_wrong_with_ends_in_a_verdict(prepared, tmp_path, monkeypatch) -> None:
    launch = launch_of(prepared(), tmp_path)
    said: list[str] = []
    show(launch, said.append)
    assert said[-1] == "verdict    nothing of this data keeps a run from training"
    monkeypatch.setattr(sampling, "MOST_QUICK", 0)
    show(launch, said.append)
    assert said[-1] == "verdict    nothing in the sample keeps a run from training"


def test_the_log_of_a_run_has_the_lines_of_its_plan(prepared, tmp_path) -> None:
    # What a machine has free is another number a moment later.
    budget = {"training": TrainingSpec(memory_budget="1Gi")}
    launch = launch_of(prepared(), tmp_path).model_copy(update=budget)
    stop, said = Stop(), []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("[PLAN]"):  # so that nothing is trained
            stop.request()

    run(launch, Surroundings(pod="pod", stop=stop, say=say))
    told: list[str] = []
    show(launch, told.append)
    here = [line for line in told if not line.startswith(("time", "measured", "verdict"))]
    assert any(line.startswith("windows") for line in here)
    assert [line.removeprefix("[PLAN] ") for line in said if line.startswith("[PLAN]")] == here
