"""What `argus plan` says: the truth with statistics, a close guess without."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.preview import preview
from argus_trainer.data.sample import NUM_SAMPLED, Sample, sample_of
from argus_trainer.errors import DataError


def sampled(run: Any) -> Sample:
    with Fetcher(run.store, max_bytes=1 << 20) as fetcher:
        return sample_of(run.plan, run.launch(), fetcher.fetch)


def number(lines: list[str], line: str, which: int = 0) -> float:
    text = next(text for text in lines if text.startswith(line))
    return float(re.findall(r"\d[\d,.]*", text)[which].replace(",", ""))


def test_a_guess_on_whole_data_is_exact(rows: Any, prepared: Callable[..., Any]) -> None:
    run = prepared(rows(servers=["a", "b", "c"], chunks=30))
    sample = sampled(run)
    assert sample.objects == NUM_SAMPLED
    assert (sample.servers, sample.rows_per_step, sample.cadence_seconds) == (3, 3.0, 600)
    guess = preview(run.plan, run.launch(), sample=sample, statistics=None)
    truth = preview(run.plan, run.launch(), sample=sample, statistics=run.statistics)
    assert len(guess) == len(truth) + 1
    assert guess[-1] == f"~ is an estimate from {NUM_SAMPLED} of 30 objects"
    for line, which in (("rows", 0), ("windows", 0), ("windows", 1), ("epoch", 0), ("coverage", 0)):
        assert number(guess, line, which) == number(truth, line, which) > 0
    for which in range(3):
        assert number(guess, "memory", which) == pytest.approx(
            number(truth, "memory", which), rel=0.05, abs=1
        )
    assert any("~" in line for line in guess[:-1])
    assert not any("~" in line for line in truth)


def test_counts_with_statistics_are_those_of_the_run(
    rows: Any, prepared: Callable[..., Any]
) -> None:
    run = prepared(rows(chunks=20))
    lines = preview(run.plan, run.launch(), sample=None, statistics=run.statistics)
    assert number(lines, "windows") == sum(b.windows for b in run.statistics.training_blocks)
    assert number(lines, "rows") == run.statistics.rows
    assert number(lines, "epoch") == run.statistics.steps_per_epoch
    assert number(lines, "chunks") == 20
    split = [number(lines, "split", part) for part in range(3)]
    assert split == [14, 4, 2]
    # 7 full blocks, the first one short of its halo, in groups of two.
    assert 40 < number(lines, "mixing") < 70
    assert number(lines, "mixing", 1) == pytest.approx(100 / 7, abs=1)
    assert number(lines, "memory") == -(-run.memory.least // 2**20)
    assert number(lines, "memory", 1) == -(-run.memory.recommended // 2**20)
    assert not any(line.startswith("time") for line in lines)


def test_a_hole_in_time_costs_the_windows_over_it(rows: Any, prepared: Callable[..., Any]) -> None:
    frame = rows(servers=["a"], chunks=30)
    hours = (frame["timestamp"] - frame["timestamp"].min()).dt.total_seconds() / 3600
    run = prepared(frame[(hours < 8) | (hours >= 12)])
    guess = preview(run.plan, run.launch(), sample=sampled(run), statistics=None)
    assert number(guess, "windows") == sum(b.windows for b in run.statistics.training_blocks)


def test_a_server_that_was_half_away_is_seen_in_the_coverage(
    rows: Any, prepared: Callable[..., Any]
) -> None:
    frame = rows(servers=["a", "b"], chunks=30)
    run = prepared(frame[(frame["server_name"] == "a") | (frame.index % 48 < 24)])
    sample = sampled(run)
    assert sample.coverage == pytest.approx(0.75, abs=0.1)


def test_bytes_of_an_epoch_count_the_halo(rows: Any, prepared: Callable[..., Any]) -> None:
    run = prepared(rows(chunks=20), encoder=20, decoder=10)
    lines = preview(run.plan, run.launch(), sample=None, statistics=run.statistics)
    streamed, kept = number(lines, "fetch", 0), number(lines, "fetch", 1)
    # Two chunks a block, and 29 steps of halo in chunks of 12: about two to three more.
    assert 1.8 < streamed / kept < 2.5


def test_a_sample_without_two_rows_of_a_server_has_no_cadence(
    rows: Any, write: Any, run_over: Any
) -> None:
    frame = rows(servers=["a"], chunks=20)
    run = run_over(write(frame[frame.index % 12 == 0]))
    run.plan = run.make_plan()
    with pytest.raises(DataError, match="the cadence is unknown"):
        sampled(run)
