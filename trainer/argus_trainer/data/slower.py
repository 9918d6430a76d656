"""Servers that are recorded less often than the grid has steps, each with a cadence of its own.

Most servers tell the dataset's cadence. Of one that is slower the steps between its rows are not
observed, which looks like gaps and is none. It shows in the mask of observed steps: nine of ten
distances are alike, be they read anew or kept from an earlier run, whatever was in memory.

A cadence that is no multiple of the grid's gives distances that take turns (15 s on a grid of
10 s: 1 step, then 2), so sums of a few distances are compared. S servers, T steps.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from argus_trainer.data.moments import Indices
from argus_trainer.data.reasons import Slower
from argus_trainer.data.window_count import Mask

LEAST_DISTANCES = 8
"""Fewer distances tell no cadence: rows may have been lost."""
REGULAR_SHARE = 0.9
"""Of the distances: so many alike are a cadence, fewer are gaps."""
_THIN_SHARE = 0.8
"""Of a chunk's steps: a server that was seen in more of them has no cadence of its own. The
slowest that is told apart is three of four."""
_MOST_SUMMED = 4


@dataclass(frozen=True, kw_only=True)
class Slow:
    """One server."""

    cadence_seconds: int
    first: int
    """Number of the mask in which it shows first."""


def slow_servers(masks: Sequence[Mask], cadence_seconds: int) -> dict[int, Slow]:
    """Returns the servers of these masks, in the order of a plan, that are slower, by code.

    One with several cadences of its own is told with the slowest.
    """
    found: dict[int, Slow] = {}
    pooled: defaultdict[int, Counter[int]] = defaultdict(Counter)
    """Of servers with few rows in a chunk: how often each distance occurs in all of them."""
    first_of: dict[int, int] = {}

    def add(code: int, steps: Fraction, first: int) -> None:
        seconds = steps * cadence_seconds
        if seconds.denominator == 1 and (
            code not in found or seconds > found[code].cadence_seconds
        ):
            found[code] = Slow(cadence_seconds=int(seconds), first=first)

    for first, code, apart in _thin(masks):
        if len(apart) < LEAST_DISTANCES:
            pooled[code].update(apart.tolist())
            first_of.setdefault(code, first)
        elif steps := _steps_apart(apart):
            add(code, steps, first)
    for code, counts in pooled.items():
        usual, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
        if usual > 1 and LEAST_DISTANCES <= counts.total() <= count / REGULAR_SHARE:
            add(code, Fraction(usual), first_of[code])
    return found


def by_cadence(
    slow: Mapping[int, Slow], names: Sequence[str], keys: Sequence[str]
) -> tuple[Slower, ...]:
    """Returns the servers by their cadence; `names` are by code, `keys` of the masks' objects."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for code, found in slow.items():
        groups[found.cadence_seconds].append(code)
    return tuple(
        Slower(
            cadence_seconds=seconds,
            names=sorted(names[code] for code in codes),
            first_key=keys[min(slow[code].first for code in codes)],
        )
        for seconds, codes in sorted(groups.items())
    )


def _thin(masks: Sequence[Mask]) -> Iterator[tuple[int, int, Indices]]:
    """Yields chunk and code of servers that lack many steps of it, with the distances in steps."""
    for (start, end), group in groupby(enumerate(masks), key=lambda item: item[1].steps):
        numbered = list(group)
        codes, observed_SB = _of_chunk([mask for _, mask in numbered])
        num_seen = np.bitwise_count(observed_SB).sum(axis=1)
        thin = np.flatnonzero((num_seen > 1) & (num_seen <= _THIN_SHARE * (end - start)))
        if not len(thin):
            continue
        observed_ST = np.unpackbits(observed_SB[thin], axis=1, count=end - start)
        _, steps = np.nonzero(observed_ST)
        ends = np.cumsum(num_seen[thin])
        for place, (begin, stop) in enumerate(zip(ends - num_seen[thin], ends, strict=True)):
            yield numbered[0][0], int(codes[thin[place]]), np.diff(steps[begin:stop])


def _of_chunk(masks: Sequence[Mask]) -> tuple[Indices, NDArray[np.uint8]]:
    """Returns the servers of the objects of one chunk, and what they saw together."""
    if len(masks) == 1:
        return masks[0].codes, masks[0].observed_SB
    codes = np.unique(np.concatenate([mask.codes for mask in masks]))
    observed_SB = np.zeros((len(codes), masks[0].observed_SB.shape[1]), dtype=np.uint8)
    for mask in masks:
        observed_SB[np.searchsorted(codes, mask.codes)] |= mask.observed_SB
    return codes, observed_SB


def _steps_apart(apart: Indices) -> Fraction | None:
    """Returns how many steps rows are apart, where nearly all tell the same; None: gaps."""
    for num_summed in range(1, _MOST_SUMMED + 1):
        if len(apart) < LEAST_DISTANCES * num_summed:
            return None
        sums = np.convolve(apart, np.ones(num_summed, dtype=np.int64), mode="valid")
        usual = int(np.sort(sums)[len(sums) // 2])
        if np.mean(sums == usual) >= REGULAR_SHARE:
            return Fraction(usual, num_summed) if usual > num_summed else None
    return None
