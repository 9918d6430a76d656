"""A budget that cannot work is refused by what the first objects show, before the rest is read."""

import re
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argus_trainer.data import survey
from argus_trainer.data.memory import MIB
from argus_trainer.data.record import record_of
from argus_trainer.data.sample import NothingKept
from argus_trainer.errors import ConfigurationError

NAMES = tuple(f"srv{number}" for number in range(12))


def statistics_within(run: Any, budget: int) -> Any:
    """Makes the statistics of a run whose training has so many bytes."""
    return run.make_statistics(cache=NothingKept(), training_budget=budget)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns the rows of each object whose record was made."""
    rows: list[int] = []

    def counted(columns: Any, *given: Any) -> Any:
        rows.append(len(columns.micros))
        return record_of(columns, *given)

    monkeypatch.setattr(survey, "record_of", counted)
    return rows


def growing(rows: Any) -> pd.DataFrame:
    """Returns rows of one server, of two others from the third chunk on, of nine from the fifth."""
    frame = rows(servers=NAMES, chunks=20)
    number = frame["server_name"].str[3:].astype(int)
    hours = (frame["timestamp"] - frame["timestamp"].min()).dt.total_seconds() / 3600
    return frame[(number == 0) | ((number < 3) & (hours >= 4)) | (hours >= 8)]


def test_a_budget_that_is_too_small_is_refused_after_the_first_object(
    prepared: Any, decoded: list[int]
) -> None:
    run = prepared()
    decoded.clear()
    with pytest.raises(
        ConfigurationError,
        match=r"memoryBudget 1Ki is too small for this data, which needs .* set at least "
        r".*; 3 servers in the first 1 chunk already show it, so the rest was not read",
    ):
        statistics_within(run, 1024)
    # Two are decoded at a time, and a third may have begun.
    assert len(decoded) <= 3 < run.plan.split.validation_end


def test_servers_that_come_later_count_when_they_come(
    prepared: Any, run_over: Any, write: Any, rows: Any, decoded: list[int]
) -> None:
    run = prepared(growing(rows))
    first = run_over(write(rows(servers=NAMES[:1]), "alone")).prepare().memory.least
    assert 1.5 * first < run.memory.least
    decoded.clear()
    with pytest.raises(ConfigurationError, match="12 servers in the first 5 chunks"):
        statistics_within(run, round(1.5 * first))
    assert len(decoded) <= 7


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    servers=st.integers(1, 6),
    encoder=st.integers(2, 20),
    batch_size=st.sampled_from([1, 8, 100]),
    lost=st.sampled_from([0.0, 0.05]),
    retired=st.booleans(),
    seed=st.integers(0, 9),
)
def test_what_a_training_needs_is_never_refused_early(
    write_to: Any,
    run_over: Any,
    rows: Any,
    tmp_path_factory: pytest.TempPathFactory,
    servers: int,
    encoder: int,
    batch_size: int,
    lost: float,
    retired: bool,
    seed: int,
) -> None:
    frame = rows(servers=NAMES[:servers], seed=seed, status=seed % 2 == 0)
    frame = frame.sample(frac=1 - lost, random_state=seed).sort_index()
    if retired:  # All but one are seen early on, and have no windows after that.
        early = frame["timestamp"] < frame["timestamp"].min() + pd.Timedelta(hours=4)
        frame = frame[early | (frame["server_name"] == NAMES[0])]
    # No input: without one value in training.
    frame["mem_used_pct"] = frame["mem_used_pct"].where(frame["timestamp"].dt.day > 2)
    folder = write_to(frame, tmp_path_factory.mktemp("rows"))
    run = run_over(folder, encoder=encoder, batch_size=batch_size).prepare()
    assert statistics_within(run, run.memory.least) == run.statistics


def test_what_is_named_as_enough_is_enough_for_these_servers(prepared: Any) -> None:
    run = prepared(batch_size=2000, encoder=60)
    assert run.memory.least > MIB
    with pytest.raises(ConfigurationError) as refused:
        statistics_within(run, MIB // 2)
    named = re.search(r"set at least (\d+)Mi", str(refused.value))
    assert named
    budget = int(named[1]) * MIB
    assert statistics_within(run, budget) == run.statistics
    assert run.memory.shares(budget)
    # Nobody is told to take much more than it needs.
    assert budget <= 1.5 * run.memory.least + MIB
