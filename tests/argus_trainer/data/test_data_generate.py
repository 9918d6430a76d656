"""The simulated fleet: reproducible bytes, the guide's columns, incidents with a past."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from argus_trainer.data.schema import METRICS, STATES
from argus_trainer.errors import UsageError
from argus_trainer.simulate.command import generate as command
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.local import LocalStore
from argus_trainer.storage.open import open_store


def generated(folder: Path, **options: object) -> Path:
    generate(LocalStore(folder), **({"servers": 7, "hours": 50, "seed": 1} | options))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read(folder: Path) -> pd.DataFrame:
    files = sorted(folder.glob("server_metrics_partitioned/*.parquet"))
    return pd.concat([pq.read_table(file).to_pandas() for file in files], ignore_index=True)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return read(generated(tmp_path_factory.mktemp("days"), servers=21, hours=240))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    assert contents(generated(tmp_path / "a")) == contents(generated(tmp_path / "b"))


def test_another_seed_gives_other_values(tmp_path: Path) -> None:
    a, b = read(generated(tmp_path / "a")), read(generated(tmp_path / "b", seed=2))
    assert (a["cpu_user_pct"] != b["cpu_user_pct"]).mean() > 0.9


def test_every_column_of_the_guide_and_every_state_is_there(days: pd.DataFrame) -> None:
    assert tuple(days.columns) == ("timestamp", "server_name", "status", *METRICS)
    assert set(days["status"]) == set(STATES)


def test_percentages_stay_percentages(days: pd.DataFrame) -> None:
    shares = days[[name for name in METRICS if name.endswith("_pct")]]
    assert shares.min().min() >= 0
    assert shares.max().max() <= 100
    cpu = days[["cpu_user_pct", "cpu_sys_pct", "cpu_iowait_pct", "cpu_idle_pct"]].sum(axis=1)
    assert cpu[days["status"] != "offline"].between(99.99, 100.01).all()


def test_each_server_has_one_row_on_every_tick(days: pd.DataFrame) -> None:
    assert len(days) == 21 * 240 * 12
    assert not days.duplicated(["timestamp", "server_name"]).any()


def test_days_and_weeks_have_a_rhythm(days: pd.DataFrame) -> None:
    web = days[days["server_name"].str.startswith("ppweb")]
    hour, weekend = web["timestamp"].dt.hour, web["timestamp"].dt.dayofweek >= 5
    at_work = web["cpu_user_pct"][(hour == 14) & ~weekend].mean()
    assert at_work > 1.5 * web["cpu_user_pct"][hour == 2].mean()
    assert at_work > 1.2 * web["cpu_user_pct"][(hour == 14) & weekend].mean()


def test_an_incident_builds_up_before_it_breaks(days: pd.DataFrame) -> None:
    """Two hours before a server turns critical, something is higher than on an average day."""
    signs = ["cpu_user_pct", "cpu_iowait_pct", "mem_used_pct", "back_close_wait"]
    announced = []
    for _, server in days.groupby("server_name"):
        critical = (server["status"] == "critical_issue").to_numpy()
        values = server[signs]
        normal = values[(server["status"] == "healthy").to_numpy()]
        excess = ((values - normal.mean()) / normal.std()).max(axis=1).to_numpy()
        for step in range(24, len(server)):
            if critical[step] and not critical[step - 24 : step].any():
                announced += [excess[step - 12 : step].mean() > 2]
    assert len(announced) > 20
    assert sum(announced) / len(announced) > 0.8


def test_the_manifest_describes_the_files(tmp_path: Path) -> None:
    folder = generated(tmp_path, hours=5) / "server_metrics_partitioned"
    manifest = json.loads((folder / "chunk_manifest.json").read_text())
    assert manifest["cadence_seconds"] == 300
    assert [chunk["file"] for chunk in manifest["chunks"]] == [
        "chunk_20251201_00.parquet",
        "chunk_20251201_02.parquet",
        "chunk_20251201_04.parquet",
    ]
    assert manifest["chunks"][-1]["end"] == "2025-12-01T05:00:00Z"
    for chunk in manifest["chunks"]:
        file = folder / chunk["file"]
        assert chunk["bytes"] == file.stat().st_size
        assert chunk["rows"] == pq.read_metadata(file).num_rows


def test_an_interrupted_writer_is_run_again(tmp_path: Path) -> None:
    whole = contents(generated(tmp_path))
    for name in ("chunk_manifest.json", "chunk_20251203_00.parquet"):
        (tmp_path / "server_metrics_partitioned" / name).unlink()
    assert contents(generated(tmp_path)) == whole


@pytest.mark.parametrize("other", [{"seed": 2}, {"hours": 40}, {"servers": 8}])
def test_another_dataset_is_never_written_over(tmp_path: Path, other: dict[str, int]) -> None:
    before = contents(generated(tmp_path))
    with pytest.raises(UsageError, match="choose another place"):
        generated(tmp_path, **other)
    assert contents(tmp_path) == before


def test_a_start_inside_a_chunk_keeps_the_chunks_on_the_clock(tmp_path: Path) -> None:
    folder = generated(tmp_path, start=datetime(2026, 1, 1, 3, tzinfo=UTC), hours=2)
    names = [path.name for path in sorted(folder.rglob("*.parquet"))]
    assert names == ["chunk_20260101_02.parquet", "chunk_20260101_04.parquet"]
    assert read(folder)["timestamp"].min() == pd.Timestamp("2026-01-01T03:00Z")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"servers": 0}, "--servers 0"),
        ({"hours": 0}, "--hours 0"),
        ({"hours": 10**9}, "--hours 1000000000: use 1 to 87600"),
        ({"start": datetime(1969, 12, 31, tzinfo=UTC)}, "--start 1969-12-31.*1970 to 2200"),
        ({"start": datetime(9999, 12, 31, tzinfo=UTC)}, "--start 9999-12-31.*1970 to 2200"),
        (
            {"start": datetime(2200, 12, 31, tzinfo=UTC)},
            "--start 2200-12-31.*--hours 50 ends in 2201",
        ),
        ({"seed": -1}, "--seed -1"),
        ({"cadence_seconds": 7}, "--cadence 7"),
    ],
)
def test_arguments_that_make_no_dataset_are_named(
    tmp_path: Path, options: dict[str, object], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        generated(tmp_path, **options)


@pytest.mark.parametrize("start", ["9999-12-31T23:00-05:00", "0001-01-01T00:00+05:00"])
def test_a_start_at_the_ends_of_the_calendar_is_refused_like_any_other(
    tmp_path: Path, start: str
) -> None:
    with pytest.raises(UsageError, match=f"--start {start[:10]}.*1970 to 2200"):
        command(servers=1, hours=1, output=str(tmp_path), seed=1, cadence=300, start=start)


def test_the_command_writes_what_the_function_writes(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    options = ["--servers", "7", "--hours", "50", "--seed", "1", "--output", str(tmp_path / "a")]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "a") == contents(generated(tmp_path / "b"))


def test_a_bucket_takes_a_dataset_like_a_folder(s3, tmp_path: Path) -> None:
    bucket = open_store(s3.new_uri(), s3.options())
    generate(bucket, servers=7, hours=6, seed=1)
    folder = contents(generated(tmp_path, hours=6))
    assert {info.key: bucket.get(info.key) for info in bucket.list_objects()} == folder
    generate(bucket, servers=7, hours=6, seed=1)
    with pytest.raises(UsageError, match="choose another place"):
        generate(bucket, servers=7, hours=6, seed=2)


def test_the_command_finds_a_bucket_by_awss_own_variables(
    s3, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = s3.new_uri()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for key in s3.credentials().iterdir():
        monkeypatch.setenv(key.name, key.read_text().strip())
    command(servers=2, hours=2, output=uri, seed=1, cadence=300, start="2026-01-01T00:00Z")
    keys = [info.key for info in open_store(uri, s3.options()).list_objects()]
    assert keys == [
        "metrics_metadata.json",
        "server_metrics_partitioned/chunk_20260101_00.parquet",
        "server_metrics_partitioned/chunk_manifest.json",
    ]
