"""The three layouts of a dataset, and what is found beside the data."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argus_contract.launch import LaunchData
from argus_trainer.data.listing import Listed, list_chunks
from argus_trainer.errors import DataError
from argus_trainer.storage.local import LocalStore

FOLDER = "server_metrics_partitioned"
Rows = Callable[..., pd.DataFrame]


def listed(folder: Path, **data: Any) -> Listed:
    return list_chunks(LocalStore(folder), LaunchData(uri=str(folder), **data))


def put(frame: pd.DataFrame, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, **options)
    return path


def seconds_of(frame: pd.DataFrame) -> np.ndarray:
    return (pd.to_datetime(frame["timestamp"], utc=True).astype("int64") // 10**6).to_numpy()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_each_row_lands_in_exactly_one_chunk_whichever_file_holds_it(
    rows: Rows, tmp_path: Path, data: st.DataObject
) -> None:
    folder = tmp_path / "plain"
    shutil.rmtree(folder, ignore_errors=True)
    # A day: in longer files what lies far from the rest would be of a wrong clock.
    frame = rows(servers=["a", "b"], chunks=12)
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    frame = frame[rng.random(len(frame)) < data.draw(st.sampled_from([0.2, 0.9, 1.0]))]
    # Files of random lengths in time; some rows are late and lie in the file after their own.
    borders = np.sort(rng.choice(len(frame), data.draw(st.integers(0, 30))))
    file = np.searchsorted(borders, np.arange(len(frame)))
    file += rng.random(len(frame)) < data.draw(st.sampled_from([0, 0.02, 0.5]))
    for number, part in frame.groupby(file):
        put(part, folder / f"part-{number:05d}.parquet")
    found = listed(folder)
    landed = []
    for entry in found.objects:
        seconds = pq.read_table(folder / entry.key, columns=["timestamp"]).column(0)
        seconds = seconds.cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy()
        inside = (seconds >= entry.start.timestamp()) & (seconds < entry.end.timestamp())
        landed += [seconds[inside]]
        assert inside.any() or entry.sliced
    assert sorted(np.concatenate(landed)) == sorted(seconds_of(frame))
    assert not found.notes


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 7},
        {"write_statistics": False},
        {"coerce_timestamps": "ms"},
        {"use_deprecated_int96_timestamps": True},
    ],
)
def test_footers_tell_the_same_times_however_they_were_written(
    rows: Rows, tmp_path: Path, options: dict[str, Any]
) -> None:
    frame = rows(servers=["a"], chunks=10)
    for number, part in frame.groupby(np.arange(len(frame)) // 12):
        put(part, tmp_path / f"{number}.parquet", **options)
    found = listed(tmp_path)
    assert len(found.objects) == 10
    assert {(p.end - p.start).total_seconds() for p in found.objects} == {7_200}
    assert found.objects[0].start == frame["timestamp"].min()


def test_times_of_all_row_groups_count(rows: Rows, tmp_path: Path) -> None:
    frame = rows(servers=["a"], chunks=10)
    put(frame, tmp_path / "all.parquet", row_group_size=7)
    found = listed(tmp_path)
    assert found.objects[0].start == frame["timestamp"].min()
    assert len(found.objects) == 10


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_times_of_any_unit_and_zone_are_instants(
    rows: Rows, tmp_path: Path, unit: str, zone: str | None
) -> None:
    frame = rows(servers=["a"], chunks=10)
    frame["timestamp"] = frame["timestamp"].dt.as_unit(unit).dt.tz_convert(zone)
    put(frame, tmp_path / "all.parquet")
    found = listed(tmp_path)
    assert found.objects[0].start == pd.Timestamp("2026-03-02T00:00Z")
    assert found.objects[-1].end == pd.Timestamp("2026-03-02T20:00Z")


def test_whole_numbers_and_texts_are_times_too(rows: Rows, tmp_path: Path) -> None:
    frame = rows(servers=["a"], chunks=10)
    times = frame["timestamp"]
    for name, column in (("number", times.astype("int64") // 10**6), ("text", times.astype(str))):
        put(frame.assign(timestamp=column), tmp_path / name / "all.parquet")
        found = listed(tmp_path / name)
        assert found.objects[0].start == times.min()
        assert len(found.objects) == 10


def test_a_footer_longer_than_the_tail_is_read_as_well(rows: Rows, tmp_path: Path) -> None:
    frame = rows(servers=["a"], chunks=10)
    wide = pd.DataFrame(1, frame.index, [f"column_{number:04d}" for number in range(700)])
    frame = pd.concat([frame, wide], axis=1)
    path = put(frame, tmp_path / "wide.parquet")
    assert int.from_bytes(path.read_bytes()[-8:-4], "little") > 64 * 1024
    assert len(listed(tmp_path).objects) == 10


def test_only_the_tails_of_files_are_read(rows: Rows, tmp_path: Path, monkeypatch: Any) -> None:
    put(rows(servers=["a"], chunks=10), tmp_path / "all.parquet")
    monkeypatch.setattr(LocalStore, "get", lambda *_, **__: pytest.fail("read as a whole"))
    assert listed(tmp_path).objects


def test_the_timestamp_may_have_another_name(rows: Rows, tmp_path: Path) -> None:
    put(rows(servers=["a"], chunks=10).rename(columns={"timestamp": "ts"}), tmp_path / "a.parquet")
    assert listed(tmp_path, columns=[{"name": "timestamp", "from": "ts"}]).objects
    with pytest.raises(
        DataError, match=r"a\.parquet has no column timestamp; it has ts, .*data\.c"
    ):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"x" * 100, "mark at its end"),
        (b"PAR1PAR1\xff\xff\0\0PAR1", ""),
    ],
)
def test_a_file_that_is_no_parquet_is_named(
    rows: Rows, tmp_path: Path, content: bytes, reason: str
) -> None:
    put(rows(servers=["a"], chunks=10), tmp_path / "good.parquet")
    (tmp_path / "bad.parquet").write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.parquet is no Parquet file.*{reason}"):
        listed(tmp_path)


def test_what_is_no_data_is_left_out_and_counted(rows: Rows, tmp_path: Path) -> None:
    frame = rows(servers=["a"], chunks=10)
    put(frame, tmp_path / "all.parquet")
    put(frame, tmp_path / "_temporary" / "0" / "part.parquet")
    put(frame.iloc[:0], tmp_path / "empty.parquet")
    (tmp_path / "README.md").write_text("metrics")
    found = listed(tmp_path)
    assert {p.key for p in found.objects} == {"all.parquet"}
    assert [note.partition(":")[0] for note in found.notes] == [
        "2 objects that are no Parquet files or belong to a writer (names with _ or .)",
        "1 Parquet files without a row",
    ]


def test_files_without_one_row_are_no_dataset(rows: Rows, tmp_path: Path) -> None:
    put(rows(chunks=1).iloc[:0], tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="none of 1 Parquet files has a row"):
        listed(tmp_path)


def test_names_with_and_without_times_are_two_datasets(rows: Rows, tmp_path: Path) -> None:
    put(rows(chunks=1), tmp_path / "chunk_20260302_00.parquet")
    put(rows(chunks=1), tmp_path / "summary.parquet")
    with pytest.raises(DataError, match=r"two datasets: chunk_.*\.parquet .* summary\.parquet"):
        listed(tmp_path)


def test_two_manifests_are_two_datasets(tmp_path: Path) -> None:
    for name in ("east", "west"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chunk_manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"2 datasets \(east/.*, west/.*\): name the folder of one"):
        listed(tmp_path)


def test_named_chunks_last_as_usual_and_never_into_the_next(tmp_path: Path) -> None:
    for hour in ("00", "02", "04", "05", "12", "14"):
        path = tmp_path / f"time_chunk=20260302_{hour}" / "part-0.parquet"
        path.parent.mkdir()
        path.write_bytes(b"not opened")
    assert [(p.start.hour, p.end.hour) for p in listed(tmp_path).objects] == [
        (0, 2), (2, 4), (4, 5), (5, 7), (12, 14), (14, 16),
    ]  # fmt: skip


def test_a_cadence_longer_than_a_chunk_gathers_chunks(rows: Rows, write: Any) -> None:
    folder = write(rows(servers=["a"], chunks=24))
    found = listed(folder, cadence_seconds=14_400)
    assert len({p.start for p in found.objects}) == 12
    assert {(p.end - p.start).total_seconds() for p in found.objects} == {14_400}


@pytest.mark.parametrize("files", [1, 8])
@pytest.mark.parametrize("year", [1971, 2025, 2027, 2099])
def test_rows_of_a_wrong_clock_are_left_out_and_counted_whatever_the_file(
    rows: Rows, tmp_path: Path, files: int, year: int
) -> None:
    frame = rows(servers=["a", "b"], chunks=24)
    sound = tmp_path / "sound"
    per_file = len(frame) // files
    for folder in (sound, tmp_path / "wrong"):
        for number in range(files):
            part = frame.iloc[number * per_file : (number + 1) * per_file]
            put(part, folder / f"{number}.parquet")
        frame.loc[frame.index[[-7, -3]], "timestamp"] = pd.Timestamp(f"{year}-06-01T00:00Z")
    found, expected = listed(tmp_path / "wrong"), listed(sound)
    assert [(p.key, p.start, p.end) for p in found.objects] == [
        (p.key, p.start, p.end) for p in expected.objects
    ]
    assert found.notes == (
        "2 rows of a wrong clock, far from the others of their file: left out (first: "
        f"{files - 1}.parquet of {year}-06-01 00:00:00+00:00)",
    )


def test_a_fleet_that_grew_has_no_wrong_clock(rows: Rows, tmp_path: Path) -> None:
    """The first server's two months are a hundredth of the rows, and no gap parts them."""
    lonely = rows(servers=["a"], chunks=60 * 12).iloc[::6]
    crowd = rows(servers=[f"s{n}" for n in range(200)], chunks=24)
    crowd["timestamp"] += lonely["timestamp"].max() - lonely["timestamp"].min()
    put(pd.concat([lonely, crowd]), tmp_path / "all.parquet")
    found = listed(tmp_path)
    assert found.objects[0].start <= lonely["timestamp"].min() < found.objects[0].end
    assert not found.notes


def test_a_file_whose_half_is_far_away_is_refused_by_name(rows: Rows, tmp_path: Path) -> None:
    frame = rows(servers=["a"], chunks=24)
    frame.loc[frame.index[::2], "timestamp"] += pd.Timedelta(days=40 * 365)
    put(frame, tmp_path / "all.parquet")
    with pytest.raises(DataError, match=r"all\.parquet: its rows reach from 2026"):
        listed(tmp_path)


def test_an_absolute_window_names_the_time_that_counts(rows: Rows, tmp_path: Path) -> None:
    frame = rows(servers=["a"], chunks=24)
    frame.loc[frame.index[::2], "timestamp"] -= pd.Timedelta(days=40 * 365)
    put(frame, tmp_path / "all.parquet")
    found = listed(tmp_path, window={"start": "2026-03-02T00:00:00Z"})
    assert found.objects[0].start == pd.Timestamp("2026-03-02T00:00Z")


def test_only_the_times_of_a_large_file_are_read(
    rows: Rows, tmp_path: Path, monkeypatch: Any
) -> None:
    frame = rows(servers=["a", "b"], chunks=24)
    frame.loc[5, "timestamp"] = pd.Timestamp("2099-01-01T00:00Z")
    put(frame, tmp_path / "all.parquet", row_group_size=50)
    monkeypatch.setattr("argus_trainer.data.footers.LARGE_BYTES", 1)
    monkeypatch.setattr(LocalStore, "get", lambda *_, **__: pytest.fail("read as a whole"))
    assert listed(tmp_path).notes[0].startswith("1 rows of a wrong clock")


def test_an_object_that_cannot_be_listed_twice_is_pinned_by_its_etag(
    rows: Rows, tmp_path: Path, monkeypatch: Any
) -> None:
    path = put(rows(servers=["a"], chunks=10), tmp_path / "all.parquet")
    real = LocalStore.list_objects

    def listing(store: LocalStore, prefix: str = "") -> list[Any]:
        found = real(store, prefix)
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(LocalStore, "list_objects", listing)
    with pytest.raises(DataError, match=r"all\.parquet changed under the run"):
        listed(tmp_path)
