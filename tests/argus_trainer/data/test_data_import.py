"""Own files into the layout: nothing is lost, moved without reason, or invented."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from argus_trainer.errors import DataError, UsageError
from argus_trainer.ingest.command import import_
from argus_trainer.ingest.metrics import import_metrics
from argus_trainer.ingest.read import Reading
from argus_trainer.storage.local import LocalStore

NAB = Path(__file__).parents[2] / "data" / "nab"


def read(folder: Path) -> pd.DataFrame:
    files = sorted(folder.glob("server_metrics_partitioned/*.parquet"))
    return pd.concat([pq.read_table(file).to_pandas() for file in files], ignore_index=True)


def imported(tmp_path: Path, text: str, *, cadence: int = 300, **reading: object) -> pd.DataFrame:
    file = tmp_path / "web1.csv"
    file.write_text(text)
    options = {"names": {"value": "cpu_user_pct"}, "server_column": None} | reading
    import_metrics(
        [file], LocalStore(tmp_path / "out"), Reading(**options), cadence_seconds=cadence
    )
    return read(tmp_path / "out")


@pytest.fixture(scope="module")
def nab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nab")
    import_metrics(
        sorted(NAB.glob("*.csv")),
        LocalStore(folder),
        Reading(names={"value": "cpu_user_pct"}, server_column=None),
    )
    return folder


def test_four_real_series_become_one_fleet(nab: Path) -> None:
    rows = read(nab)
    assert sorted(set(rows["server_name"])) == sorted(file.stem for file in NAB.glob("*.csv"))
    assert rows["timestamp"].min() == pd.Timestamp("2014-02-14T14:30Z")
    assert rows["timestamp"].max() == pd.Timestamp("2014-02-28T14:25Z")
    seconds = rows["timestamp"].dt.as_unit("s").astype("int64")
    assert (seconds % 300 == 0).all()


def test_every_value_of_the_files_is_there_once_and_at_most_a_step_late(nab: Path) -> None:
    rows = read(nab).set_index(["server_name", "timestamp"])["cpu_user_pct"]
    assert rows.index.is_unique
    total = 0
    for file in NAB.glob("*.csv"):
        own = pd.read_csv(file, parse_dates=["timestamp"], float_precision="round_trip")
        own["timestamp"] = own["timestamp"].dt.tz_localize("UTC")
        assert not own["timestamp"].duplicated().any()
        place = own["timestamp"].dt.ceil("5min")
        assert not place.duplicated().any()
        found = rows.loc[file.stem].loc[place]
        assert (found.to_numpy() == own["value"].to_numpy()).all()
        total += len(own)
    assert total == len(rows) == 4 * 4032


def test_columns_that_the_user_does_not_have_are_absent(nab: Path) -> None:
    assert list(read(nab).columns) == ["timestamp", "server_name", "cpu_user_pct"]
    manifest = json.loads((nab / "server_metrics_partitioned/chunk_manifest.json").read_text())
    assert manifest["columns"] == ["timestamp", "server_name", "cpu_user_pct"]
    assert len(manifest["chunks"]) == 169


def test_a_tick_stands_at_the_end_of_its_bin(tmp_path: Path) -> None:
    rows = imported(tmp_path, "timestamp,value\n2026-01-01 10:02:00,1\n2026-01-01 10:05:00,2\n")
    # Both lie in (10:00, 10:05]: one mean.
    assert rows["timestamp"].tolist() == [pd.Timestamp("2026-01-01T10:05Z")]
    assert rows["cpu_user_pct"].tolist() == [1.5]


def test_a_row_that_was_sent_again_replaces_the_first(tmp_path: Path) -> None:
    rows = imported(tmp_path, "timestamp,value\n2026-01-01 10:00:00,1\n2026-01-01 10:00:00,9\n")
    assert rows["cpu_user_pct"].tolist() == [9.0]


def test_clocks_of_a_zone_become_utc(tmp_path: Path) -> None:
    rows = imported(
        tmp_path,
        "timestamp,value\n2026-01-01 10:00:00,1\n2026-07-01 10:00:00,2\n",
        time_zone="Europe/Berlin",
    )
    assert [str(time) for time in rows["timestamp"]] == [
        "2026-01-01 09:00:00+00:00",
        "2026-07-01 08:00:00+00:00",
    ]


def test_an_hour_that_the_zone_skips_is_left_out_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("timestamp,value\n2026-03-29 02:30:00,1\n2026-03-29 03:30:00,2\n")
    reading = Reading(
        names={"value": "cpu_user_pct"}, server_column=None, time_zone="Europe/Berlin"
    )
    result = import_metrics([file], LocalStore(tmp_path / "out"), reading)
    assert (result.without_time, result.written.rows) == (1, 1)


def test_an_hour_that_the_zone_has_twice_is_left_out_and_counted_without_an_offset(
    tmp_path: Path,
) -> None:
    reading = Reading(
        names={"value": "cpu_user_pct"}, server_column=None, time_zone="Europe/Berlin"
    )
    for name, texts, lost, kept in (
        ("plain", ("2026-10-25 02:30:00", "2026-10-25 03:30:00"), 1, 1),
        ("offset", ("2026-10-25 02:30:00+02:00", "2026-10-25 02:30:00+01:00"), 0, 2),
    ):
        file = tmp_path / f"{name}.csv"
        file.write_text("timestamp,value\n" + "".join(f"{text},1\n" for text in texts))
        result = import_metrics([file], LocalStore(tmp_path / f"out-{name}"), reading)
        assert (result.without_time, result.written.rows) == (lost, kept)


@pytest.mark.parametrize(
    ("clock", "reading"),
    [
        ("2026-01-01T11:00:00+01:00", {}),
        ("2026-01-01T10:00:00Z", {"time_zone": "Asia/Tokyo"}),
        ("1767261600", {}),
        ("1767261600000", {"timestamp_unit": "ms"}),
        ("01/01/2026 10h00", {"timestamp_format": "%d/%m/%Y %Hh%M"}),
    ],
)
def test_many_ways_to_write_one_instant(
    tmp_path: Path, clock: str, reading: dict[str, str]
) -> None:
    rows = imported(tmp_path, f"timestamp,value\n{clock},1\n", **reading)
    assert rows["timestamp"].tolist() == [pd.Timestamp("2026-01-01T10:00Z")]


def test_own_names_of_columns_and_servers(tmp_path: Path) -> None:
    rows = imported(
        tmp_path,
        "when,host,value,note,mem_used_pct\n2026-01-01 10:00:00,b,1,x,50\n"
        "2026-01-01 10:00:00,a,,x,60\n",
        timestamp_column="when",
        server_column="host",
    )
    assert list(rows.columns) == ["timestamp", "server_name", "cpu_user_pct", "mem_used_pct"]
    assert rows["server_name"].tolist() == ["a", "b"]
    assert rows["cpu_user_pct"].isna().tolist() == [True, False]


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    text = "timestamp,value\n2026-01-01 10:00:00,1\n2026-01-01 10:05:00,2\n"
    expected = imported(tmp_path, text)
    own = pd.read_csv(tmp_path / "web1.csv", parse_dates=["timestamp"])
    own.to_parquet(tmp_path / "web1.parquet")
    import_metrics(
        [tmp_path / "web1.parquet"],
        LocalStore(tmp_path / "parquet"),
        Reading(names={"value": "cpu_user_pct"}, server_column=None),
    )
    pd.testing.assert_frame_equal(read(tmp_path / "parquet"), expected)


@pytest.mark.parametrize(
    ("reading", "error", "named"),
    [
        ({"names": {"usage": "cpu_user_pct"}}, UsageError, "no usage; it has timestamp, value"),
        ({"names": {}}, UsageError, "no metric of the guide"),
        ({"timestamp_column": "when"}, UsageError, "--timestamp-column when"),
        ({"server_column": "host"}, UsageError, "--server-from-file"),
        ({"time_zone": "Mars/Base"}, UsageError, "--time-zone Mars/Base"),
        ({"timestamp_format": "%d.%m.%Y"}, DataError, "--timestamp-format"),
    ],
)
def test_options_that_do_not_fit_are_named(
    tmp_path: Path, reading: dict[str, object], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        imported(tmp_path, "timestamp,value\n2026-01-01 10:00:00,1\n", **reading)


def test_a_column_of_words_is_no_metric(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"web1\.csv.*cpu_user_pct is not numeric"):
        imported(tmp_path, "timestamp,value\n2026-01-01 10:00:00,high\n")


@pytest.mark.parametrize(
    ("clock", "reading"),
    [
        ("0500-01-01 00:00:00", {}),
        ("9999-12-31 23:59:59", {"time_zone": "America/New_York"}),
        ("2201-01-01T12:00:00+01:00", {}),
        ("1767261600000", {}),
    ],
)
def test_a_year_that_no_chunk_can_be_of_is_named_with_its_row(
    tmp_path: Path, clock: str, reading: dict[str, str]
) -> None:
    good = "1767261600" if clock.isdigit() else f"2026{clock[4:]}"
    with pytest.raises(
        DataError, match=r"web1\.csv: column timestamp has .* in data row 2; .*unit"
    ):
        imported(tmp_path, f"timestamp,value\n{good},1\n{clock},1\n", **reading)
    assert not (tmp_path / "out").exists()


def import_with(tmp_path: Path, name: str) -> Result:
    file = tmp_path / "web1.csv"
    file.write_text("timestamp,value\n2026-01-01 10:00:00,1\n")
    app = typer.Typer()
    app.command()(import_)
    options = ["--server-from-file", "--map", f"value={name}", "--output", str(tmp_path / "out")]
    return CliRunner().invoke(app, [str(file), *options])


@pytest.mark.parametrize(
    ("name", "hint"),
    [("requests_s", ""), ("cpu_steal_pct", " (did you mean cpu_user_pct?)"), ("load_average5", "")],
)
def test_a_metric_of_ones_own_is_kept_and_can_be_a_target(
    tmp_path: Path, name: str, hint: str
) -> None:
    result = import_with(tmp_path, name)
    assert result.exit_code == 0, result.output
    assert f"{name} is no metric of the guide{hint}" in result.output
    assert f"--target {name}" in result.output
    assert list(read(tmp_path / "out").columns) == ["timestamp", "server_name", name]


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("cpu_usr_pct", "--map value=cpu_usr_pct: write cpu_user_pct"),
        ("CPU_USER_PCT", "write cpu_user_pct"),
        ("hour", "Argus makes hour from the clock"),
    ],
)
def test_a_slip_in_a_known_name_is_refused_before_anything_is_read(
    tmp_path: Path, name: str, named: str
) -> None:
    result = import_with(tmp_path, name)
    assert isinstance(result.exception, UsageError)
    assert named in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_one_of_something_is_said_in_the_singular(tmp_path: Path) -> None:
    assert "1 row of 1 server with cpu_user_pct" in import_with(tmp_path, "cpu_user_pct").output


def test_the_command_takes_a_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        file = tmp_path / "own" / f"{name}.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text("timestamp,value\n2026-01-01 10:00:00,1\n2026-01-01 10:05:00,2\n")
    app = typer.Typer()
    app.command()(import_)
    output = tmp_path / "out"
    options = ["--server-from-file", "--map", "value=cpu_user_pct", "--output", str(output)]
    result = CliRunner().invoke(app, [str(tmp_path / "own"), *options])
    assert result.exit_code == 0, result.output
    assert "4 rows of 2 servers" in result.output
    assert read(output)["server_name"].tolist() == ["a", "b", "a", "b"]
