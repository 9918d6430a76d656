"""From times of objects to chunks: each instant belongs to exactly one chunk.

A chunk is a span of time with the objects that hold its rows. Objects whose times are equal
are one chunk, and objects that lie apart are chunks of their own. Where times overlap in any
other way, time itself is cut at the marks of a clock, and an object is pinned once for each
chunk that it reaches into: rows land by their time, whichever file carries them. Price: such
an object is read once for each of its chunks.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median_low

from argus_contract.plan import PinnedObject
from argus_trainer.data.chunk_files import CHUNK_SECONDS
from argus_trainer.errors import DataError
from argus_trainer.storage.store import ObjectInfo

MINUTE, HOUR, DAY = 60, 3_600, 86_400
CLOCK_LENGTHS = (
    *(minutes * MINUTE for minutes in (5, 10, 15, 20, 30)),
    *(hours * HOUR for hours in (1, 2, 3, 4, 6, 8, 12)),
    *(days * DAY for days in (1, 2, 7)),
)
"""Lengths of chunks whose borders a person finds on a clock; all are divisors of a week."""
_LAST = len(CLOCK_LENGTHS) - 1
LEAST_CHUNKS = 10
"""Fewer chunks of time could not be split 70/20/10."""
MOST_CHUNKS_OF_OBJECT = 1_000
"""An object that reaches over more holds a wrong clock's row, or is no chunk at all."""


@dataclass(frozen=True, slots=True)
class TimedObject:
    """An object of a listing, with the time of its rows in seconds since 1970: [start, end)."""

    info: ObjectInfo
    start: int
    end: int


def chunks_of(
    timed: Sequence[TimedObject], *, cadence_seconds: int = 0, on_clock: bool = False
) -> tuple[PinnedObject, ...]:
    """Returns the objects of each chunk, by time, then key; chunks never overlap.

    Objects of one chunk carry the same `start` and `end`. Times that are equal or apart stay
    as they are, unless `cadence_seconds` (0: as recorded) does not divide them or `on_clock`
    says that they are the times of rows and not of chunks. Raises DataError for an object that
    reaches over more than MOST_CHUNKS_OF_OBJECT chunks.
    """
    times = sorted({(entry.start, entry.end) for entry in timed})
    apart = all(before[1] <= after[0] for before, after in pairwise(times))
    divides = not cadence_seconds or not any(
        start % cadence_seconds or end % cadence_seconds for start, end in times
    )
    if apart and divides and not on_clock:
        pinned = [_pinned(entry, entry.start, entry.end) for entry in timed]
    else:
        pinned = _cut(timed, _clock_length(times, cadence_seconds), all_sliced=on_clock)
    return tuple(sorted(pinned, key=lambda entry: (entry.start, entry.key)))


def usual_seconds(objects: Sequence[PinnedObject]) -> int:
    """Returns the usual length of a chunk."""
    times = {(entry.start, entry.end) for entry in objects}
    return int(median_low((end - start).total_seconds() for start, end in times))


def _clock_length(times: Sequence[tuple[int, int]], cadence_seconds: int) -> int:
    """Returns how long chunks are: as the usual object is, with enough of them for a split."""
    usual = median_low(end - start for start, end in times)
    first, last = times[0][0], max(end for _, end in times) - 1
    longest = CLOCK_LENGTHS[min(bisect_left(CLOCK_LENGTHS, max(usual, CHUNK_SECONDS)), _LAST)]
    fitting = [n for n in CLOCK_LENGTHS if not cadence_seconds or n % cadence_seconds == 0]
    # A day fits each cadence that there is.
    chosen = fitting[0]
    for length in fitting:
        if length <= longest and last // length - first // length + 1 >= LEAST_CHUNKS:
            chosen = length
    return chosen


def _cut(timed: Sequence[TimedObject], length: int, *, all_sliced: bool) -> list[PinnedObject]:
    pinned: list[PinnedObject] = []
    for entry in timed:
        first, last = entry.start // length, (entry.end - 1) // length
        if last - first >= MOST_CHUNKS_OF_OBJECT:
            raise DataError(
                f"{entry.info.key}: its rows reach from {_time(entry.start)} to "
                f"{_time(entry.end)}, {last - first + 1} chunks of {length} s: name the time "
                "that counts in data.window, or correct the rows whose clock was wrong"
            )
        pinned += (
            _pinned(
                entry,
                place * length,
                (place + 1) * length,
                sliced=all_sliced or first < last,
            )
            for place in range(first, last + 1)
        )
    return pinned


def _pinned(entry: TimedObject, start: int, end: int, *, sliced: bool = False) -> PinnedObject:
    return PinnedObject(
        key=entry.info.key,
        size=entry.info.size,
        etag=entry.info.etag,
        start=_time(start),
        end=_time(end),
        sliced=sliced,
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
