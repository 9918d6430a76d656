"""`data.window` and `data.split`: which chunks take part, and in which role."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from argus_contract.data_spec import SplitSpec, WindowSpec
from argus_contract.plan import PinnedObject
from argus_contract.spec import ModelSpec
from argus_trainer.data.split import in_window, split_of
from argus_trainer.errors import DataError

START = datetime(2026, 3, 2, tzinfo=UTC)
HOURS = timedelta(hours=1)


def chunks(number: int, objects_each: int = 1) -> tuple[PinnedObject, ...]:
    """Chunks of two hours from START on."""
    return tuple(
        PinnedObject(
            key=f"{chunk}-{part}",
            size=1,
            etag="e",
            start=START + 2 * chunk * HOURS,
            end=START + 2 * (chunk + 1) * HOURS,
        )
        for chunk in range(number)
        for part in range(objects_each)
    )


def chosen(now: datetime, **window: Any) -> tuple[float, float]:
    """Returns the hours after START at which the chosen chunks begin and end, of 20 hours."""
    inside = in_window(chunks(10), WindowSpec(**window), created_at=now, uri="s3://m")
    return ((inside[0].start - START) / HOURS, (inside[-1].end - START) / HOURS)


def test_without_a_window_everything_takes_part() -> None:
    assert chosen(START) == (0, 20)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(2, 8, (2, 8)), (1, 9, (2, 8)), (None, 9, (0, 8)), (5, None, (6, 20)), (-9, 99, (0, 20))],
)
def test_an_absolute_window_takes_whole_chunks_inside(
    start: int | None, end: int | None, expected: tuple[int, int]
) -> None:
    window = {
        name: START + hours * HOURS
        for name, hours in (("start", start), ("end", end))
        if hours is not None
    }
    assert chosen(START, **window) == expected


@pytest.mark.parametrize(
    ("now", "offset", "expected"),
    [
        (12, None, (4, 10)),  # the chunk before the default offset of one chunk
        (13.9, None, (4, 10)),  # the chunk of 10 to 12 is not two hours old yet
        (14, None, (6, 12)),
        (13, 0, (6, 12)),
        (13, 4 * 3600, (2, 8)),
        (500, None, (14, 20)),  # data that ended long ago: its newest part
    ],
)
def test_a_look_back_counts_from_the_newest_closed_chunk(
    now: float, offset: int | None, expected: tuple[int, int]
) -> None:
    window = {"lookback_seconds": 6 * 3600, "end_offset_seconds": offset}
    assert chosen(START + now * HOURS, **window) == expected


@pytest.mark.parametrize(
    "window",
    [
        {"start": START + 20 * HOURS},
        {"end": START + HOURS},
        {"start": START + 3 * HOURS, "end": START + 5 * HOURS},
        {"lookback_seconds": 3600},
    ],
)
def test_a_window_without_a_chunk_says_what_there_is(window: dict[str, Any]) -> None:
    with pytest.raises(
        DataError, match=r"data\.window: no chunk of s3://m .* reaches from 2026-03-0"
    ):
        chosen(START + 10 * HOURS, **window)


@given(
    number=st.integers(1, 60),
    each=st.integers(1, 3),
    validation=st.integers(1, 80),
    holdout=st.integers(0, 80),
    encoder=st.integers(1, 60),
    decoder=st.integers(1, 40),
)
def test_parts_follow_each_other_and_have_room_for_a_window(
    number: int, each: int, validation: int, holdout: int, encoder: int, decoder: int
) -> None:
    assume(validation + holdout <= 90)
    spec = SplitSpec(validation_percent=validation, holdout_percent=holdout)
    model = ModelSpec(encoder_length=encoder, prediction_length=decoder)
    objects = chunks(number, each)

    def split(objects: tuple[PinnedObject, ...]) -> Any:
        return split_of(objects, spec, model, cadence_seconds=600, uri="s3://m")

    try:
        found = split(objects)
    except DataError as error:
        least = int(str(error).partition("at least ")[2].partition(" ")[0])
        assert least > number
        split(chunks(least, each))
        with pytest.raises(DataError):
            split(chunks(least - 1, each))
        return
    parts = (
        objects[: found.train_end],
        objects[found.train_end : found.validation_end],
        objects[found.validation_end :],
    )
    lengths = [len({entry.start for entry in part}) for part in parts]
    assert sum(lengths) == number, "no chunk serves two parts"
    steps = [12 * length for length in lengths]
    assert steps[0] >= encoder + decoder
    assert steps[1] >= decoder
    assert steps[2] >= decoder if holdout else steps[2] == 0
    least = -(-decoder // 12)
    for length, percent in zip(lengths[1:], (validation, holdout), strict=True):
        assert abs(length - number * percent / 100) <= 1 or length == least


def test_without_a_holdout_validation_reaches_to_the_end() -> None:
    spec, model = SplitSpec(holdout_percent=0), ModelSpec(encoder_length=6, prediction_length=3)
    found = split_of(chunks(10, 2), spec, model, cadence_seconds=None, uri="s3://m")
    assert (found.train_end, found.validation_end) == (16, 20)
