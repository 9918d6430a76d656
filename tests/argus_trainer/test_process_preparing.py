"""A pod that plans on a CPU: what it says of the data, and what it leaves in the bucket.

The store is a folder, the data are made by `argus generate`; nothing here imports torch.
"""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from argus_contract import layout, names
from argus_contract.data_spec import GapsSpec, OnChange, ValidationSpec
from argus_contract.digests import digest_of
from argus_contract.exit_codes import ExitCode
from argus_contract.launch import (
    Launch,
    LaunchData,
    LaunchPlanning,
    LaunchStorage,
)
from argus_contract.plan import Plan, Split, Statistics
from argus_contract.progress import ProgressReport
from argus_contract.spec import ModelSpec, ResumePolicy, TargetSpec, TrainingMode, TrainingSpec
from argus_contract.status import EndReason
from argus_trainer.errors import ObjectChanged, StorageUnavailable
from argus_trainer.process.pinning import Pinning
from argus_trainer.process.preparing import prepare
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.open import open_store
from toy import RUN_KEY, toy_launch

BEGIN = datetime(2025, 12, 1, tzinfo=UTC)
NOW = BEGIN + timedelta(hours=50)
MIB = 2**20
GPU = (TargetSpec(name="gpu_temp"),)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three servers, 48 hours at 5 minutes, in 24 chunks."""
    folder: Path = tmp_path_factory.mktemp("data")
    store = open_store(str(folder), LaunchStorage())
    generate(store, servers=3, hours=48, seed=1, cadence_seconds=300, start=BEGIN)
    return folder


class Bench:
    """One run whose planning is done again and again in this process."""

    def __init__(self, data: Path, place: Path) -> None:
        self.data, self.place = data, place
        self.said: list[str] = []
        self.stop = Stop()
        self.launch = toy_launch(
            str(data),
            str(place),
            model=ModelSpec(
                encoder_length=12,
                prediction_length=4,
                targets=(TargetSpec(name="cpu_user_pct"), TargetSpec(name="load_average")),
            ),
            training=TrainingSpec(epochs=1),
            checkpoint={"every_chunks": 2, "period_seconds": 60},
        )

    def plan(self, limit: int | None = None, **validation: Any) -> tuple[int, ProgressReport]:
        """Plans once; returns the exit code and the last words."""
        words = self.place / "words"
        planning = LaunchPlanning(
            validation=ValidationSpec.model_validate(validation), memory_limit_bytes=limit
        )
        surroundings = Surroundings(
            pod="toy-plan-1-x",
            stop=self.stop,
            termination_path=words,
            clock=lambda: NOW,
            say=self.said.append,
        )
        code = prepare(self.launch, planning, surroundings)
        return code, ProgressReport.model_validate_json(words.read_bytes())

    @property
    def run(self) -> Path:
        return self.place / "checkpoints" / RUN_KEY

    def left(self) -> set[str]:
        """Names of what stands in the run's own prefix and among the bundles' names."""
        found = [path.name for path in self.run.rglob("*") if path.is_file()]
        names_taken = self.place / "models" / "bundle-names"
        return {*found, *(path.name for path in names_taken.rglob("*") if path.is_file())}

    def stored(self) -> tuple[Plan, Statistics]:
        return (
            Plan.model_validate_json((self.run / layout.PLAN).read_bytes()),
            Statistics.model_validate_json((self.run / layout.STATISTICS).read_bytes()),
        )


@pytest.fixture
def bench(recorded: Path, tmp_path: Path) -> Bench:
    return Bench(recorded, tmp_path)


@pytest.fixture
def own_data(recorded: Path, tmp_path: Path) -> Bench:
    """One whose data a test may damage."""
    folder = tmp_path / "own"
    shutil.copytree(recorded, folder)
    for manifest in folder.rglob("chunk_manifest.json"):
        manifest.unlink()
    return Bench(folder, tmp_path)


def test_plan_and_statistics_are_stored_once_and_no_claim_is_made(bench: Bench) -> None:
    code, words = bench.plan()
    assert code == ExitCode.OK
    assert words.end_reason is EndReason.COMPLETED
    plan, statistics = bench.stored()
    assert statistics.plan_digest == digest_of(plan)
    assert bench.left() == {"plan.json", "statistics.json", f"{plan.bundle_name}.json"}
    assert words.data is not None
    assert (words.data.servers, words.data.rows) == (3, statistics.rows)
    assert words.data.manifest_digest == plan.manifest_digest
    assert words.validation is not None
    assert words.validation.passed
    assert f"{statistics.rows} rows of 3 servers" in words.validation.summary
    assert "holds" not in {line.split()[1] for line in bench.said if line.startswith("[PLAN]")}

    before = {path: path.read_bytes() for path in bench.run.iterdir()}
    assert bench.plan()[0] == ExitCode.OK
    assert {path: path.read_bytes() for path in bench.run.iterdir()} == before


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"minRows": 10**9}, "data.validation.minRows is 1000000000, and there are "),
        ({"minServers": 4}, "data.validation.minServers is 4, and there are 3 servers"),
        ({"maxStalenessSeconds": 7_199}, "the data ended 7200 s before the run was planned"),
    ],
)
def test_below_a_limit_warn_goes_on_and_enforce_refuses_and_leaves_nothing(
    bench: Bench, limits: dict[str, int], words: str
) -> None:
    code, refused = bench.plan(policy="Enforce", **limits)
    assert code == ExitCode.DATA
    assert refused.end_reason is EndReason.DATA
    assert refused.validation is not None
    (problem,) = refused.validation.problems
    assert words in problem
    assert refused.message is not None
    assert problem in refused.message
    assert "data.validation.policy Warn" in refused.message
    assert bench.left() == set()

    code, warned = bench.plan(policy="Warn", **limits)
    assert code == ExitCode.OK
    assert warned.validation == refused.validation
    assert any(line.startswith("[PLAN] warning") and words in line for line in bench.said)
    assert {"plan.json", "statistics.json"} < bench.left()
    # Of a plan that stands the same is said.
    assert bench.plan(policy="Enforce", **limits)[1].validation == refused.validation


def test_limits_that_are_just_kept_pass(bench: Bench) -> None:
    rows = Statistics.model_validate_json(
        _planned(bench).joinpath(layout.STATISTICS).read_bytes()
    ).rows
    _, words = bench.plan(
        policy="Enforce",
        minRows=rows,
        minServers=3,
        minCoveragePercent=100,
        maxMissingPercent=0,
        maxStalenessSeconds=7_200,
    )
    assert words.validation is not None
    assert words.validation.passed
    assert "100.0 % of their steps" in words.validation.summary


def _planned(bench: Bench) -> Path:
    assert bench.plan()[0] == ExitCode.OK
    return bench.run


def without(table: pa.Table, *metrics: str) -> pa.Table:
    """Returns the rows without one value of these metrics."""
    for name in metrics:
        place = table.schema.get_field_index(name)
        nulls = pa.nulls(table.num_rows, table.schema.field(place).type)
        table = table.set_column(place, name, nulls)
    return table


def test_gaps_and_missing_targets_are_counted_and_named(own_data: Bench) -> None:
    """Of 17 training chunks 6 lose their second half, and 3 lose a target and another metric."""
    files = sorted(own_data.data.rglob("*.parquet"))
    for file in files[:6]:
        table = pq.read_table(file)
        times = sorted(set(table["timestamp"].to_pylist()))
        early = pc.less(table["timestamp"], pa.scalar(times[len(times) // 2]))
        pq.write_table(table.filter(early), file)
    for file in files[6:9]:
        pq.write_table(without(pq.read_table(file), "mem_used_pct", "load_average"), file)
    limits = {"minCoveragePercent": 90, "maxMissingPercent": 5}
    gaps = LaunchData(uri=str(own_data.data), gaps=GapsSpec(min_observed_percent=1))
    own_data.launch = own_data.launch.model_copy(update={"data": gaps})
    code, words = own_data.plan(policy="Enforce", **limits)
    assert code == ExitCode.DATA
    assert words.validation is not None, words.message
    coverage, missing = words.validation.problems
    assert "data.validation.minCoveragePercent is 90, and 64.7 % of" in coverage
    assert missing.startswith("data.validation.maxMissingPercent is 5, and rows without a value: ")
    assert "load_average in 21.4 %" in missing
    assert "mem_used_pct" not in missing, "its rows do not count, for they lack a target"


def test_a_metric_that_many_rows_lack_is_named_with_its_share(own_data: Bench) -> None:
    for file in sorted(own_data.data.rglob("*.parquet"))[:8]:
        pq.write_table(without(pq.read_table(file), "mem_used_pct"), file)
    _, words = own_data.plan(maxMissingPercent=5)
    assert words.validation is not None, words.message
    (missing,) = words.validation.problems
    assert "mem_used_pct in 47.1 %" in missing, "8 of 17 training chunks"


def test_a_training_that_its_container_could_not_hold_is_refused_before_it_starts(
    bench: Bench,
) -> None:
    code, words = bench.plan(limit=MIB)
    assert code == ExitCode.CONFIGURATION
    assert words.message is not None
    assert (
        "resourcesPerNode.limits.memory is 1Mi, and training on this data needs " in words.message
    )
    assert bench.left() == set()
    standard = bench.launch.training.model_copy(update={"mode": TrainingMode.STANDARD})
    bench.launch = bench.launch.model_copy(update={"training": standard})
    code, words = bench.plan(limit=MIB // 8)
    assert code == ExitCode.CONFIGURATION
    assert words.message is not None
    assert "training.mode Streaming" in words.message
    assert bench.plan(limit=1024 * MIB)[0] == ExitCode.OK


def test_a_budget_that_is_too_small_is_refused_whatever_this_container_has(bench: Bench) -> None:
    budget = bench.launch.training.model_copy(update={"memory_budget": "64Ki"})
    bench.launch = bench.launch.model_copy(update={"training": budget})
    code, words = bench.plan(limit=1024 * MIB)
    assert code == ExitCode.CONFIGURATION
    assert words.message is not None
    assert "training.memoryBudget 64Ki is too small" in words.message


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"gpus": 2}, ExitCode.CONFIGURATION, "asks for 2 GPUs"),
        ({"data": LaunchData(uri="/nowhere")}, ExitCode.DATA, "/nowhere"),
        (
            {"model": ModelSpec(encoder_length=9, prediction_length=3, targets=GPU)},
            ExitCode.DATA,
            "gpu_temp",
        ),
        (
            {"model": ModelSpec(encoder_length=8000, targets=(TargetSpec(name="load_average"),))},
            ExitCode.DATA,
            "model.encoderLength",
        ),
    ],
)
def test_what_no_training_could_do_is_refused_with_the_code_of_a_training(
    bench: Bench, change: dict[str, Any], code: ExitCode, words: str
) -> None:
    bench.launch = bench.launch.model_copy(update=change)
    found, last = bench.plan()
    assert found == code
    assert last.message is not None
    assert words in last.message
    assert bench.left() == set()


def test_require_without_a_state_is_refused_before_an_hour_of_reading(bench: Bench) -> None:
    required = bench.launch.checkpoint.model_copy(update={"resume_policy": ResumePolicy.REQUIRE})
    bench.launch = bench.launch.model_copy(update={"checkpoint": required})
    code, words = bench.plan()
    assert code == ExitCode.CONFIGURATION
    assert words.message is not None
    assert "checkpoint.resumePolicy is Require" in words.message


def test_a_signal_ends_it_with_75_and_nothing_is_bound(bench: Bench) -> None:
    bench.stop.request()
    code, words = bench.plan()
    assert code == ExitCode.PREEMPTED
    assert words.end_reason is EndReason.PREEMPTED
    assert bench.left() == set()


def test_a_store_that_stays_away_ends_it_with_74(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Pinning) -> Plan:
        raise StorageUnavailable("s3://metrics does not answer")

    monkeypatch.setattr(Pinning, "draft", away)
    code, words = bench.plan()
    assert code == ExitCode.STORAGE_UNAVAILABLE
    assert words.end_reason is EndReason.STORAGE_UNAVAILABLE


def test_an_object_that_changes_while_it_is_read_costs_another_listing_and_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, times = Pinning.statistics, []

    def changing(self: Pinning, *arguments: Any, **options: Any) -> Statistics:
        times.append(1)
        if len(times) < 3:
            raise ObjectChanged("chunk 7 is another one now")
        return read(self, *arguments, **options)

    monkeypatch.setattr(Pinning, "statistics", changing)
    assert bench.plan()[0] == ExitCode.OK
    assert len(times) == 3
    shutil.rmtree(bench.run)
    times[:] = []
    monkeypatch.setattr("argus_trainer.process.preparing.NUM_DRAFTS", 2)
    assert bench.plan()[0] == ExitCode.DATA
    assert len(times) == 2


def test_a_slower_pod_takes_over_the_plan_of_the_faster_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between its draft and its plan another pod stores one of less data."""
    other = Bench(bench.data, tmp_path)
    named = Pinning.named

    def late(self: Pinning, draft: Plan, output: Any) -> Plan:
        monkeypatch.setattr(Pinning, "named", named)
        split = Split(
            train_end=draft.split.train_end - 1, validation_end=draft.split.validation_end - 1
        )
        fewer = draft.model_copy(update={"objects": draft.objects[1:], "split": split})
        store = open_store(str(bench.run), LaunchStorage())
        store.put_new(layout.PLAN, fewer.model_dump_json(by_alias=True).encode())
        return named(self, draft, output)

    monkeypatch.setattr(Pinning, "named", late)
    assert other.plan()[0] == ExitCode.OK
    plan, statistics = other.stored()
    assert len(plan.objects) == 23
    assert statistics.rows == 16 * 24 * 3
    assert statistics.plan_digest == digest_of(plan)


def test_a_changed_object_of_a_plan_that_stands_is_repinned_or_refused(
    own_data: Bench,
) -> None:
    bench = own_data
    assert bench.plan()[0] == ExitCode.OK
    (bench.run / layout.STATISTICS).unlink()
    shutil.rmtree(bench.place / "checkpoints" / "stats")
    file = sorted(bench.data.rglob("*.parquet"))[3]
    pq.write_table(pq.read_table(file), file, compression="gzip")
    code, words = bench.plan()
    assert code == ExitCode.DATA
    assert words.message is not None
    assert "to plan anew with the data of now, delete" in words.message
    repin = LaunchData(uri=str(bench.data), on_change=OnChange.REPIN)
    bench.launch = bench.launch.model_copy(update={"data": repin})
    code, words = bench.plan()
    assert code == ExitCode.CONFIGURATION, "onChange is a part of the run"


def test_the_pod_imports_no_torch_and_takes_the_whole_of_it_from_its_environment(
    bench: Bench,
) -> None:
    def argus(*arguments: str, launch: Launch) -> "subprocess.CompletedProcess[str]":
        code = (
            "import sys; from argus_trainer.cli import main\n"
            "try: main()\n"
            "finally: print('loaded', {'torch', 'lightning'} & sys.modules.keys())"
        )
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            names.ENV_LAUNCH: launch.model_dump_json(by_alias=True),
        }
        command = [sys.executable, "-c", code, "run", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    alone = argus(names.PLAN_ONLY, launch=bench.launch)
    assert alone.returncode == ExitCode.USAGE
    assert "planning" in alone.stderr
    planning = LaunchPlanning(validation=ValidationSpec())
    done = argus(names.PLAN_ONLY, launch=bench.launch.model_copy(update={"planning": planning}))
    assert done.returncode == ExitCode.OK, done.stderr
    assert "loaded set()" in done.stdout
    assert {"plan.json", "statistics.json"} < bench.left()
    assert json.loads((bench.run / layout.PLAN).read_bytes())["runKey"] == RUN_KEY
