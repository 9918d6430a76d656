"""Which windows exist, against a count step by step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_trainer.data.windows import (
    Lengths,
    Span,
    training_spans,
    validation_spans,
    window_ids,
    window_positions,
)

RUNS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 12)).map(lambda run: [run[0]] * run[1]), max_size=8
)


def span_of(steps: int, lengths: Lengths, least_end: int = 0) -> Span:
    halo = lengths.window - 1
    return Span(first=1000, start=1000 + halo, end=1000 + steps, least_end=least_end, objects=())


def is_window(seen: list[bool], lengths: Lengths) -> bool:
    longest = run = 0
    for step in seen:
        run = 0 if step else run + 1
        longest = max(longest, run)
    past, future = seen[: lengths.encoder], seen[lengths.encoder :]
    return (
        seen[0]
        and seen[-1]
        and longest <= 3
        and sum(past) * 5 >= len(past) * 4
        and sum(future) * 5 >= len(future) * 4
    )


@given(runs=RUNS, encoder=st.integers(1, 30), decoder=st.integers(1, 25))
def test_windows_are_those_of_a_count_step_by_step(
    runs: list[list[bool]], encoder: int, decoder: int
) -> None:
    lengths = Lengths(encoder=encoder, decoder=decoder)
    seen = [step for run in runs for step in run] + [True] * lengths.window
    codes, first = window_positions(np.array([seen]), span_of(len(seen), lengths), lengths)
    starts = range(len(seen) - lengths.window + 1)
    assert first.tolist() == [s for s in starts if is_window(seen[s : s + lengths.window], lengths)]
    assert not codes.any()


@pytest.mark.parametrize(("gap", "windows"), [(3, 1), (4, 0)])
def test_a_gap_of_three_steps_is_filled_and_one_of_four_is_not(gap: int, windows: int) -> None:
    lengths = Lengths(encoder=30, decoder=30)
    seen = np.ones((1, 60), dtype=bool)
    seen[0, 40 : 40 + gap] = False
    assert len(window_positions(seen, span_of(60, lengths), lengths)[0]) == windows


def test_ids_name_the_server_and_the_last_step() -> None:
    lengths = Lengths(encoder=2, decoder=1)
    span = span_of(4, lengths)
    codes, first = window_positions(np.ones((2, 4), dtype=bool), span, lengths)
    ids = window_ids(codes, first, span, lengths)
    assert ids.tolist() == [1002, 1003, 2**40 + 1002, 2**40 + 1003]


def test_windows_before_the_least_end_are_of_another_part() -> None:
    lengths = Lengths(encoder=2, decoder=2)
    span = span_of(10, lengths, least_end=1006)
    _, first = window_positions(np.ones((1, 10), dtype=bool), span, lengths)
    assert (first + span.first + 3).tolist() == [1006, 1007, 1008, 1009]


def test_blocks_cover_each_step_of_a_part_once(rows, write, run_over) -> None:
    run = run_over(write(rows(servers=["a"], chunks=20)), block_chunks=3)
    plan, lengths = run.make_plan(), Lengths(encoder=30, decoder=10)
    training = training_spans(plan, 600, lengths)
    validation = validation_spans(plan, 600, lengths)
    first = int(plan.objects[0].start.timestamp()) // 600
    owned = [step - first for span in training + validation for step in range(span.start, span.end)]
    assert owned == list(range(18 * 12))
    assert [len(span.objects) for span in training] == [3, 6, 7, 7, 6]
    assert validation[0].least_end == first + 14 * 12 + 9


def test_a_hole_in_time_ends_a_block(rows, write, run_over) -> None:
    frame = rows(servers=["a"], chunks=20)
    hours = (frame["timestamp"] - frame["timestamp"].min()).dt.total_seconds() / 3600
    run = run_over(write(frame[(hours < 8) | (hours >= 12)]), block_chunks=12)
    spans = training_spans(run.make_plan(), 600, Lengths(encoder=2, decoder=1))
    assert [span.end - span.start for span in spans] == [48, 96]
