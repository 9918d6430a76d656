"""What a person types becomes the same fields that a trainingjob.yaml has."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from argus_contract.data_spec import Aggregate, ColumnSpec, DataRules, OnChange
from argus_contract.launch import Launch
from argus_contract.spec import TrainingMode, TrainingSpec
from argus_trainer.commands import app
from argus_trainer.errors import UsageError
from argus_trainer.process.reading import columns_of


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs `argus train` up to the launch document, which it returns."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "argus_trainer.process.command.Stop", lambda: SimpleNamespace(listen=lambda: None)
    )
    launches: list[Launch] = []
    monkeypatch.setattr(
        "argus_trainer.process.run.run", lambda launch, _: launches.append(launch) or 0
    )

    def typed(*arguments: str) -> Launch:
        result = CliRunner().invoke(app, ["train", "data", *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return launches.pop()

    return typed


def test_without_options_data_is_read_as_a_cluster_reads_it(train, tmp_path):
    launch = train()
    assert launch.data.model_dump(exclude={"uri"}) == DataRules().model_dump()
    assert launch.data.uri == str(tmp_path / "data")
    assert launch.training == TrainingSpec(mode=TrainingMode.STANDARD)
    assert train("--streaming").training == TrainingSpec()


def test_every_option_reaches_its_field(train):
    data = train(
        *("--map", "mem=ratio=mem_used_pct", "--factor", "mem_used_pct=100"),
        *("--aggregate", "mem_used_pct=Max", "--aggregate", "load_average=Last"),
        *("--servers", "web-*", "--servers", "db-*", "--exclude-servers", "*-canary"),
        *("--start", "2026-01-01", "--end", "2026-02-01T01:00+01:00"),
        *("--validation-percent", "15", "--holdout-percent", "5", "--cadence", "60"),
        *("--time-zone", "Europe/Berlin", "--max-gap-steps", "0"),
        *("--min-observed-percent", "50", "--on-change", "repin"),
    ).data
    assert data.columns == (
        ColumnSpec(name="load_average", aggregate=Aggregate.LAST),
        ColumnSpec(name="mem_used_pct", source="mem=ratio", factor="100", aggregate=Aggregate.MAX),
    )
    assert (data.servers.include, data.servers.exclude) == (("db-*", "web-*"), ("*-canary",))
    assert data.window.start == datetime(2026, 1, 1, tzinfo=UTC)
    assert data.window.end == datetime(2026, 2, 1, tzinfo=UTC)
    assert (data.split.validation_percent, data.split.holdout_percent) == (15, 5)
    assert (data.cadence_seconds, data.time_zone) == (60, "Europe/Berlin")
    assert (data.gaps.max_gap_steps, data.gaps.min_observed_percent) == (0, 50)
    assert data.on_change is OnChange.REPIN


def test_a_lookback_is_counted_in_days(train):
    assert train("--lookback-days", "30").data.window.lookback_seconds == 30 * 86_400


def test_training_options_reach_their_fields(train):
    training = train(
        *("--streaming", "--memory-budget", "2Gi", "--window-stride", "3"),
        *("--windows-per-epoch", "1000", "--deterministic"),
    ).training
    assert training == TrainingSpec(
        memory_budget="2Gi", window_stride=3, windows_per_epoch=1000, deterministic=True
    )


def test_more_memory_is_the_same_run_and_other_data_is_another(train):
    keys = [
        train(*options).run_key
        for options in (
            (),
            ("--streaming",),
            ("--streaming", "--memory-budget", "2Gi"),
            ("--time-zone", "UTC", "--max-gap-steps", "3"),
        )
    ]
    assert len(set(keys)) == 1
    for options in (("--cadence", "60"), ("--servers", "a*"), ("--window-stride", "2")):
        assert train(*options).run_key != keys[0]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--memory-budget", "2Gi"), "--memory-budget 2Gi needs --streaming"),
        (("--streaming", "--memory-budget", "much"), "--memory-budget much: write a size like 4Gi"),
        (("--streaming", "--memory-budget", "0"), "--memory-budget 0 must be above 0"),
        (("--start", "yesterday"), "--start yesterday is no time: use for example 2026-01-31"),
        (
            ("--start", "2026-01-01", "--lookback-days", "3"),
            "--start or --end excludes --lookback-days: keep one form",
        ),
        (
            ("--start", "2026-01-02", "--end", "2026-01-01"),
            "--start must lie before --end: exchange them",
        ),
        (("--cadence", "7"), "--cadence 7 does not divide a day"),
        (
            ("--validation-percent", "80", "--holdout-percent", "20"),
            "--validation-percent 80 and --holdout-percent 20 leave less than 10 percent",
        ),
        (("--min-observed-percent", "0"), "--min-observed-percent 0: Input should be"),
        (("--time-zone", "../x"), "--time-zone ../x: write a name like Europe/Berlin"),
        (("--map", "cpu"), "--map cpu: write OWN=NAME"),
        (("--map", "a=x", "--map", "b=x"), "--map b=x: x is given twice: keep one"),
        (("--map", "a=x", "--map", "a=y"), "--map: from a is given twice: keep one"),
        (("--map", "a=x y"), "--map x y: write OWN=NAME with a name of letters"),
        (("--factor", "x="), "--factor x=: write NAME=FACTOR"),
        (("--factor", "x=much"), "--factor much: write NAME=NUMBER with a decimal number"),
        (("--factor", "x=0"), "--factor of column x is 0: use one above 0"),
        (("--factor", "status=2"), "column status is no metric and takes neither --factor nor"),
        (("--aggregate", "x=Median"), "--aggregate Median: Input should be 'Mean', 'Last'"),
        (("--servers", ""), "--servers : String should have at least 1 character"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_the_words_that_were_typed(train, options, text):
    with pytest.raises(UsageError) as refusal:
        train(*options)
    assert str(refusal.value).startswith(text)


def test_a_factor_alone_keeps_the_name_of_the_column():
    assert columns_of([], ["load_average=0.01"], []) == [{"name": "load_average", "factor": "0.01"}]
