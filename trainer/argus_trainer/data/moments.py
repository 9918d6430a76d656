"""Count, mean and spread that can be merged: one pass over data of any length.

Chan's update in float64, in the order of the chunks, so that the same chunks always give
the same bits. All arrays have one entry per group.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Of each group: number of values, their mean, and the sum of squared distances to it."""

    count: Floats
    mean: Floats
    squares: Floats

    @classmethod
    def of(cls, groups: Indices, values: Floats, num_groups: int) -> "Moments":
        """Returns the moments of `values`, each of its group; NaN is no value."""
        there = ~np.isnan(values)
        if not there.all():
            groups, values = groups[there], values[there]
        count = np.bincount(groups, minlength=num_groups).astype(np.float64)
        sums = np.bincount(groups, weights=values, minlength=num_groups)
        mean = np.divide(sums, count, out=np.zeros(num_groups), where=count > 0)
        apart = values - mean[groups]
        apart *= apart
        squares: Floats = np.bincount(groups, weights=apart, minlength=num_groups).astype(float)
        return cls(count=count, mean=mean, squares=squares)

    @classmethod
    def of_columns(cls, columns: Iterable[Floats], num_columns: int) -> "Moments":
        """Returns the moments of each column, one group each; NaN is no value."""
        found = cls.none(num_columns)
        for group, column in enumerate(columns):
            values = column[~np.isnan(column)]
            if values.size:
                found.count[group] = values.size
                found.mean[group] = values.mean()
                values -= found.mean[group]
                found.squares[group] = np.square(values, out=values).sum()
        return found

    @classmethod
    def none(cls, num_groups: int) -> "Moments":
        return cls(
            count=np.zeros(num_groups), mean=np.zeros(num_groups), squares=np.zeros(num_groups)
        )

    def merged(self, other: "Moments") -> "Moments":
        """Returns the moments of both, group by group."""
        count = self.count + other.count
        share = np.divide(other.count, count, out=np.zeros(len(count)), where=count > 0)
        apart = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + apart * share,
            squares=self.squares + other.squares + apart**2 * self.count * share,
        )

    def fleet(self) -> "Moments":
        """Returns the moments of all groups as one."""
        count = float(self.count.sum())
        mean = float((self.mean * self.count).sum()) / count if count else 0.0
        # The sum would otherwise be of zeros and of squares that no value has.
        apart = np.where(self.count > 0, self.mean - mean, 0.0)
        squares = float((self.squares + apart**2 * self.count).sum())
        return Moments(count=np.array([count]), mean=np.array([mean]), squares=np.array([squares]))

    def at(self, groups: "Sequence[int] | Indices") -> "Moments":
        """Returns the moments of some groups, in that order."""
        index = np.asarray(groups, dtype=np.int64)
        return Moments(count=self.count[index], mean=self.mean[index], squares=self.squares[index])

    @property
    def deviation(self) -> Floats:
        """Standard deviation of each group; 0 without values."""
        return self._deviation(self.count)

    @property
    def sample_deviation(self) -> Floats:
        """The same with Bessel's correction; 0 with fewer than two values."""
        return self._deviation(self.count - 1)

    def _deviation(self, divisor: Floats) -> Floats:
        none = np.zeros(len(divisor))
        return np.sqrt(np.divide(self.squares, divisor, out=none, where=divisor > 0))


class RunningMoments:
    """Moments of groups whose number grows; a part touches only the groups that it has."""

    def __init__(self) -> None:
        self._held = Moments.none(0)

    def add(self, groups: Indices, part: Moments) -> None:
        """Merges `part`, whose entries are of `groups`; no group may stand there twice."""
        if not len(groups):
            return
        self._grow(int(groups.max()) + 1)
        held, merged = self._held, self._held.at(groups).merged(part)
        held.count[groups] = merged.count
        held.mean[groups] = merged.mean
        held.squares[groups] = merged.squares

    def of_first(self, num_groups: int) -> Moments:
        """Returns the moments of the groups below `num_groups`; some may be empty."""
        self._grow(num_groups)
        held = self._held
        return Moments(
            count=held.count[:num_groups],
            mean=held.mean[:num_groups],
            squares=held.squares[:num_groups],
        )

    def _grow(self, num_groups: int) -> None:
        more = num_groups - len(self._held.count)
        if more > 0:
            # Room for as many again: a fleet that grows by one must not copy all each time.
            none = np.zeros(max(more, len(self._held.count)))
            held = self._held
            self._held = Moments(
                count=np.concatenate([held.count, none]),
                mean=np.concatenate([held.mean, none]),
                squares=np.concatenate([held.squares, none]),
            )
