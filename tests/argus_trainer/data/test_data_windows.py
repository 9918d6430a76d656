"""Which windows exist, against a count step by step."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_contract.plan import PinnedObject, Plan, Split
from argus_trainer.data.windows import (
    Span,
    WindowRules,
    training_spans,
    validation_spans,
    window_ids,
    window_positions,
)

RUNS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 12)).map(lambda run: [run[0]] * run[1]), max_size=8
)


def rules_of(*, encoder: int, decoder: int, **other: int) -> WindowRules:
    usual = {"max_gap_steps": 3, "min_observed_percent": 80, "stride": 1}
    return WindowRules(encoder=encoder, decoder=decoder, **usual | other)


def span_of(steps: int, rules: WindowRules, least_end: int = 0) -> Span:
    halo = rules.window - 1
    return Span(
        first=1000,
        start=1000 + halo,
        end=1000 + steps,
        least_end=least_end,
        stride=rules.stride,
        objects=(),
    )


def is_window(seen: list[bool], rules: WindowRules) -> bool:
    longest = run = 0
    for step in seen:
        run = 0 if step else run + 1
        longest = max(longest, run)
    past, future = seen[: rules.encoder], seen[rules.encoder :]
    return (
        seen[0]
        and seen[-1]
        and longest <= rules.max_gap_steps
        and sum(past) * 100 >= len(past) * rules.min_observed_percent
        and sum(future) * 100 >= len(future) * rules.min_observed_percent
    )


@given(
    runs=RUNS,
    encoder=st.integers(1, 30),
    decoder=st.integers(1, 25),
    max_gap_steps=st.integers(0, 8),
    min_observed_percent=st.integers(1, 100),
    stride=st.integers(1, 5),
)
def test_windows_are_those_of_a_count_step_by_step(
    runs: list[list[bool]], encoder: int, decoder: int, **other: int
) -> None:
    rules = rules_of(encoder=encoder, decoder=decoder, **other)
    seen = [step for run in runs for step in run] + [True] * rules.window
    codes, first = window_positions(np.array([seen]), span_of(len(seen), rules), rules)
    assert first.tolist() == [
        start
        for start in range(len(seen) - rules.window + 1)
        if is_window(seen[start : start + rules.window], rules)
        and (1000 + start + rules.window - 1) % rules.stride == 0
    ]
    assert not codes.any()


@pytest.mark.parametrize(("gap", "windows"), [(3, 1), (4, 0)])
def test_a_gap_of_three_steps_is_filled_and_one_of_four_is_not(gap: int, windows: int) -> None:
    rules = rules_of(encoder=30, decoder=30)
    seen = np.ones((1, 60), dtype=bool)
    seen[0, 40 : 40 + gap] = False
    assert len(window_positions(seen, span_of(60, rules), rules)[0]) == windows


def test_ids_name_the_server_and_the_last_step() -> None:
    rules = rules_of(encoder=2, decoder=1)
    span = span_of(4, rules)
    codes, first = window_positions(np.ones((2, 4), dtype=bool), span, rules)
    ids = window_ids(codes, first, span, rules.window)
    assert ids.tolist() == [1002, 1003, 2**40 + 1002, 2**40 + 1003]


def test_windows_before_the_least_end_are_of_another_part() -> None:
    rules = rules_of(encoder=2, decoder=2)
    span = span_of(10, rules, least_end=1006)
    _, first = window_positions(np.ones((1, 10), dtype=bool), span, rules)
    assert (first + span.first + 3).tolist() == [1006, 1007, 1008, 1009]


def test_blocks_cover_each_step_of_a_part_once(rows, write, run_over) -> None:
    run = run_over(write(rows(servers=["a"], chunks=20)), block_chunks=3)
    plan, rules = run.make_plan(), rules_of(encoder=30, decoder=10)
    training = training_spans(plan, 600, rules)
    validation = validation_spans(plan, 600, rules)
    first = int(plan.objects[0].start.timestamp()) // 600
    owned = [step - first for span in training + validation for step in range(span.start, span.end)]
    assert owned == list(range(18 * 12))
    assert [len(span.objects) for span in training] == [3, 6, 7, 7, 6]
    assert validation[0].least_end == first + 14 * 12 + 9


def test_a_hole_in_time_ends_a_block(rows, write, run_over) -> None:
    frame = rows(servers=["a"], chunks=20)
    hours = (frame["timestamp"] - frame["timestamp"].min()).dt.total_seconds() / 3600
    run = run_over(write(frame[(hours < 8) | (hours >= 12)]), block_chunks=12)
    spans = training_spans(run.make_plan(), 600, rules_of(encoder=2, decoder=1))
    assert [span.end - span.start for span in spans] == [48, 96]


def test_a_stride_thins_training_and_not_validation(rows, write, run_over) -> None:
    plan = run_over(write(rows(servers=["a"], chunks=20))).make_plan()
    rules = rules_of(encoder=2, decoder=1, stride=5)
    assert {span.stride for span in training_spans(plan, 600, rules)} == {5}
    assert {span.stride for span in validation_spans(plan, 600, rules)} == {1}


def test_ten_thousand_objects_are_cut_into_blocks_at_once() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(hours=2 * index) for index in range(10_001)]
    objects = [
        PinnedObject(key=str(index), size=1, etag="", start=begin, end=end)
        for index, (begin, end) in enumerate(pairwise(hours))
    ]
    # One that reaches far over those after it is found from all of them.
    objects[40] = objects[40].model_copy(update={"end": hours[90]})
    plan = Plan.model_construct(
        objects=tuple(objects),
        split=Split(train_end=9_000, validation_end=9_500),
        block_chunks=12,
    )
    began = time.process_time()
    spans = training_spans(plan, 300, rules_of(encoder=288, decoder=96))
    seconds = time.process_time() - began
    assert seconds < 2
    for span in (spans[0], spans[3], spans[7], spans[-1]):
        assert span.objects == tuple(
            index
            for index, pinned in enumerate(objects[:9_000])
            if pinned.start.timestamp() // 300 < span.end
            and pinned.end.timestamp() // 300 > span.first
        )
