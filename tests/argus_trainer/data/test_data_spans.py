"""From times of objects to chunks: each instant of each object in exactly one chunk."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_contract.plan import PinnedObject
from argus_trainer.data.spans import MOST_CHUNKS_OF_OBJECT, TimedObject, chunks_of, usual_seconds
from argus_trainer.errors import DataError
from argus_trainer.storage.store import ObjectInfo

HOUR = 3_600
START = 20_454 * 24 * HOUR
RANGES = st.lists(
    st.tuples(st.integers(0, 40 * HOUR), st.integers(1, 20 * HOUR)), min_size=1, max_size=12
)


def timed(*ranges: tuple[int, int]) -> list[TimedObject]:
    """Objects that begin so many seconds after START and last so many seconds."""
    return [
        TimedObject(
            ObjectInfo(key=f"{index:03d}.parquet", size=1, etag="e"),
            START + begin,
            START + begin + length,
        )
        for index, (begin, length) in enumerate(ranges)
    ]


def seconds(pinned: PinnedObject) -> tuple[int, int]:
    return int(pinned.start.timestamp()), int(pinned.end.timestamp())


@given(ranges=RANGES, cadence=st.sampled_from([0, 300, 675, 7_200, 14_400]), on_clock=st.booleans())
def test_each_instant_of_an_object_is_in_exactly_one_of_its_entries(
    ranges: list[tuple[int, int]], cadence: int, on_clock: bool
) -> None:
    objects = timed(*ranges)
    pinned = chunks_of(objects, cadence_seconds=cadence, on_clock=on_clock)
    chunks = sorted({seconds(entry) for entry in pinned})
    assert all(before[1] <= after[0] for before, after in pairwise(chunks))
    for entry in objects:
        mine = [seconds(p) for p in pinned if p.key == entry.info.key]
        covered = sum(min(b, entry.end) - max(a, entry.start) for a, b in mine)
        assert covered == entry.end - entry.start
        assert all(a < entry.end and b > entry.start for a, b in mine), "an entry without a row"
    if cadence:
        assert not any(border % cadence for chunk in chunks for border in chunk)
    assert [(p.start, p.key) for p in pinned] == sorted((p.start, p.key) for p in pinned)


def test_equal_and_separate_times_stay_as_they_are() -> None:
    objects = timed((0, 100), (0, 100), (100, 50), (500, 7))
    pinned = chunks_of(objects)
    assert [seconds(p) for p in pinned] == [(o.start, o.end) for o in objects]
    assert not any(p.sliced for p in pinned)


def test_an_object_that_reaches_into_the_next_chunk_is_pinned_for_both() -> None:
    day = [(hour * HOUR, 2 * HOUR) for hour in range(0, 40, 2)]
    day[3] = (6 * HOUR, 2 * HOUR + 60)
    pinned = chunks_of(timed(*day))
    assert len(pinned) == 21
    late = [p for p in pinned if p.key == "003.parquet"]
    assert [(p.start.hour, p.end.hour, p.sliced) for p in late] == [(6, 8, True), (8, 10, True)]
    assert sum(p.sliced for p in pinned) == 2


def test_ten_thousand_tiny_objects_gather_in_chunks_of_two_hours() -> None:
    pinned = chunks_of(timed(*((60 * minute, 60) for minute in range(10_000))), on_clock=True)
    assert len(pinned) == 10_000
    assert len({p.start for p in pinned}) == 84
    assert usual_seconds(pinned) == 2 * HOUR


def test_one_object_of_a_week_is_cut_into_chunks_that_can_be_split() -> None:
    pinned = chunks_of(timed((0, 7 * 24 * HOUR)), on_clock=True)
    assert len(pinned) == 14
    assert {p.key for p in pinned} == {"000.parquet"}


def test_a_wrong_clock_that_reaches_over_decades_is_named() -> None:
    day = [(hour * HOUR, 2 * HOUR) for hour in range(24)]
    with pytest.raises(DataError, match=r"^024\.parquet: its rows reach from .* data\.window"):
        chunks_of(timed(*day, (0, (MOST_CHUNKS_OF_OBJECT + 1) * 2 * HOUR)))


def test_the_usual_length_is_that_of_most_chunks() -> None:
    begin = datetime.fromtimestamp(START, UTC)
    objects = [
        PinnedObject(key="k", size=1, etag="e", start=begin, end=begin + timedelta(hours=hours))
        for hours in (2, 2, 3, 9)
    ]
    assert usual_seconds(objects) == 3 * HOUR
