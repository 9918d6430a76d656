"""What `argus plan` says: the truth where it may read everything, a close guess from a sample."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from argus_trainer.data import sample as sampling
from argus_trainer.data.counts import Counts, estimated_counts, exact_counts
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.preview import Reading, about_counts, about_plan
from argus_trainer.data.sample import Sample, is_quick, sample_of, spread, whole
from argus_trainer.errors import DataError


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is quick to read here, and a sample has twelve objects."""
    monkeypatch.setattr(sampling, "MOST_QUICK", 0)
    monkeypatch.setattr(sampling, "MOST_SAMPLED", 12)


def sampled(run: Any) -> Sample:
    with Fetcher(run.store, max_bytes=1 << 20) as fetcher:
        return sample_of(run.plan, run.launch(), fetcher)


def guess(run: Any) -> Counts:
    return estimated_counts(run.plan, run.launch(), sampled(run))


def truth(run: Any) -> Counts:
    return exact_counts(run.plan, run.launch(), run.statistics)


def lines_of(run: Any, counts: Counts, reading: Reading | None = None) -> list[str]:
    return [*about_plan(run.plan), *about_counts(run.plan, run.launch(), counts, reading=reading)]


def number(lines: list[str], line: str, which: int = 0) -> float:
    text = next(text for text in lines if text.startswith(line))
    return float(re.findall(r"\d[\d,.]*\d|\d", text)[which].replace(",", ""))


def close(run: Any, share: float) -> Counts:
    """Returns the guess over a run, which is at most `share` off the truth."""
    about, exact = guess(run), truth(run)
    for name in ("rows", "windows", "validation", "coverage"):
        assert getattr(about, name) == pytest.approx(getattr(exact, name), rel=share), name
    assert len(about.windows_of_block) == len(exact.windows_of_block)
    return about


def test_a_guess_on_whole_data_is_exact(rows: Any, prepared: Callable[..., Any]) -> None:
    run = prepared(rows(servers=["a", "b", "c"], chunks=40, status=True))
    sample = sampled(run)
    assert len(sample.read) == 12
    about = close(run, 0)
    assert about == Counts(**{**vars(truth(run)), "is_estimate": True})
    lines = lines_of(run, about, Reading(objects=12, bytes=3 << 20, seconds=2))
    assert "12 of 40 objects: ~ is an estimate from them" in lines[-1]
    assert any("~" in line for line in lines)
    assert not any("~" in line for line in lines_of(run, truth(run)))


def test_a_share_that_must_be_observed_costs_the_windows_it_costs_the_run(
    rows: Any, prepared: Callable[..., Any]
) -> None:
    frame = rows(servers=[f"s{n}" for n in range(8)], chunks=60)
    lost = np.random.default_rng(3).random(len(frame)) < 0.15
    run = prepared(frame[~lost], encoder=20, decoder=10)
    whole_time = 8 * (42 * 12 - 29)
    assert truth(run).windows < 0.75 * whole_time
    # A fifth of the chunks is read, and at 15 % lost a little more costs many windows.
    close(run, 0.2)


def test_a_server_that_was_away_for_half_of_the_time_has_windows_of_the_other_half(
    rows: Any, prepared: Callable[..., Any]
) -> None:
    frame = rows(servers=["a", "b"], chunks=60)
    hours = (frame["timestamp"] - frame["timestamp"].min()).dt.total_seconds() / 3600
    run = prepared(frame[(frame["server_name"] == "a") | (hours >= 42)])
    assert guess(run).windows == pytest.approx(truth(run).windows, rel=0.1)


def test_a_hole_in_time_costs_the_windows_over_it(rows: Any, prepared: Callable[..., Any]) -> None:
    frame = rows(servers=["a"], chunks=40)
    hours = (frame["timestamp"] - frame["timestamp"].min()).dt.total_seconds() / 3600
    close(prepared(frame[(hours < 8) | (hours >= 12)]), 0)


def test_a_stride_and_a_limit_of_windows_are_told(rows: Any, prepared: Callable[..., Any]) -> None:
    run = prepared(rows(chunks=40), stride=3)
    close(run, 0)
    launch = run.launch()
    training = launch.training.model_copy(update={"windows_per_epoch": 100})
    launch = launch.model_copy(update={"training": training})
    lines = about_counts(run.plan, launch, truth(run))
    assert "100 of them an epoch" in next(line for line in lines if line.startswith("windows"))
    assert number(lines, "epoch") == 13


def plain(frame: pd.DataFrame, folder: Path, rows_of_file: int) -> Path:
    folder.mkdir()
    for at in range(0, len(frame), rows_of_file):
        part = pa.Table.from_pandas(frame.iloc[at : at + rows_of_file], preserve_index=False)
        pq.write_table(part, folder / f"{at:06d}.parquet")
    return folder


@pytest.mark.parametrize("rows_of_file", [7, 31, 100_000])
def test_files_that_are_no_chunks_are_estimated_as_well(
    rows: Any, run_over: Any, tmp_path: Path, rows_of_file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several files a chunk, files over borders, one file of everything."""
    frame = rows(servers=["a", "b", "c"], chunks=40)
    frame["timestamp"] += pd.Timedelta(minutes=50)
    run = run_over(plain(frame, tmp_path / "plain", rows_of_file)).prepare()
    monkeypatch.setattr(sampling, "MOST_SAMPLED", 45)
    about = close(run, 0.03)
    lines = lines_of(run, about, Reading(objects=1, bytes=1, seconds=1))
    assert number(lines, "measured", 1) <= number(lines, "measured", 2) == len(run.plan.files())


def test_rows_that_are_gathered_are_estimated_as_well(
    rows: Any, prepared: Callable[..., Any]
) -> None:
    run = prepared(rows(chunks=40), rules_of_data={"cadence_seconds": 1_200})
    close(run, 0.03)


def test_a_fleet_too_large_to_count_whole_is_counted_on_some_of_it(
    rows: Any, prepared: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = rows(servers=[f"s{n:02d}" for n in range(20)], chunks=30)
    run = prepared(frame[(frame["server_name"] < "s10") | (frame.index // 20 % 5 > 0)])
    monkeypatch.setattr("argus_trainer.data.counts.MOST_CELLS", 10 * 30 * 12)
    about = guess(run)
    assert about.servers == 20
    assert about.windows == pytest.approx(truth(run).windows, rel=0.1)


def test_counts_with_statistics_are_those_of_the_run(
    rows: Any, prepared: Callable[..., Any]
) -> None:
    run = prepared(rows(chunks=20))
    lines = lines_of(run, truth(run))
    assert number(lines, "windows") == sum(b.windows for b in run.statistics.training_blocks)
    assert number(lines, "rows") == run.statistics.rows
    assert number(lines, "epoch") == run.statistics.steps_per_epoch
    assert number(lines, "chunks") == 20
    assert [number(lines, "split", part) for part in range(3)] == [14, 4, 2]
    # 7 full blocks, the first one short of its halo, in groups of two.
    assert 40 < number(lines, "mixing") < 70
    assert number(lines, "mixing", 1) == pytest.approx(100 / 7, abs=1)
    assert number(lines, "memory") == -(-run.memory.least // 2**20)
    assert number(lines, "memory", 1) == -(-run.memory.recommended // 2**20)
    assert not any(line.startswith(("time", "measured")) for line in lines)


def test_what_may_be_read_whole_gives_the_statistics_of_the_run(
    rows: Any, prepared: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared(rows(chunks=20))
    assert not is_quick(run.plan)
    monkeypatch.setattr(sampling, "MOST_QUICK", 18)
    assert is_quick(run.plan)
    before = sorted(run.checkpoints_folder.rglob("*"))
    with Fetcher(run.store, max_bytes=1 << 20) as fetcher:
        assert whole(run.plan, run.launch(), fetcher) == run.statistics
    assert sorted(run.checkpoints_folder.rglob("*")) == before
    monkeypatch.setattr(sampling, "MOST_BYTES", 1_000)
    assert not is_quick(run.plan)


def test_a_sample_tells_what_it_settled(rows: Any, prepared: Callable[..., Any]) -> None:
    frame = rows(chunks=40)
    frame.loc[frame.index[:5], "mem_used_pct"] = np.inf
    assert sampled(prepared(frame)).notes == (
        "5 values that are NaN, infinite or beyond what float32 holds: they count as none, "
        "in the sample",
    )


def test_bytes_of_an_epoch_count_the_halo(rows: Any, prepared: Callable[..., Any]) -> None:
    run = prepared(rows(chunks=20), encoder=20, decoder=10)
    lines = lines_of(run, truth(run))
    once, streamed = number(lines, "fetch", 0), number(lines, "fetch", 1)
    # Two chunks a block, and 29 steps of halo in chunks of 12: about two to three more.
    assert 1.8 < streamed / once < 2.5


def test_a_sample_without_two_rows_of_a_server_has_no_cadence(
    rows: Any, write: Any, run_over: Any
) -> None:
    frame = rows(servers=["a"], chunks=40)
    run = run_over(write(frame[frame.index % 12 == 0]))
    run.plan = run.make_plan()
    with pytest.raises(DataError, match=r"no server has two rows in one of 12 objects \(12 rows\)"):
        sampled(run)


@pytest.mark.parametrize(("count", "of"), [(1, 7), (5, 3), (3, 3), (4, 100), (1, 1)])
def test_places_of_a_sample_differ_and_reach_from_end_to_end(count: int, of: int) -> None:
    places = spread(count, of)
    assert len(set(places)) == len(places) == min(count, of)
    assert all(0 <= place < of for place in places)
    if len(places) > 1:
        assert (places[0], places[-1]) == (0, of - 1)
