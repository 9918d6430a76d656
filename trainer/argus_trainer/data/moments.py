"""Count, mean and spread that can be merged: one pass over data of any length.

Chan's update in float64, in the order of the chunks, so that the same chunks always give
the same bits. All arrays have one entry per group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Of each group: number of values, their mean, and the sum of squared distances to it."""

    count: Floats
    mean: Floats
    squares: Floats

    @classmethod
    def of(cls, groups: NDArray[np.int64], values: Floats, num_groups: int) -> "Moments":
        """Returns the moments of `values`, each of its group; NaN is no value."""
        there = ~np.isnan(values)
        groups, values = groups[there], values[there]
        count = np.bincount(groups, minlength=num_groups).astype(np.float64)
        sums = np.bincount(groups, weights=values, minlength=num_groups)
        mean = np.divide(sums, count, out=np.zeros(num_groups), where=count > 0)
        apart = (values - mean[groups]) ** 2
        squares: Floats = np.bincount(groups, weights=apart, minlength=num_groups).astype(float)
        return cls(count=count, mean=mean, squares=squares)

    @classmethod
    def none(cls, num_groups: int) -> "Moments":
        return cls(
            count=np.zeros(num_groups), mean=np.zeros(num_groups), squares=np.zeros(num_groups)
        )

    def merged(self, other: "Moments") -> "Moments":
        """Returns the moments of both, group by group; the shorter one is padded."""
        size = max(len(self.count), len(other.count))
        a, b = self._padded(size), other._padded(size)
        count = a.count + b.count
        share = np.divide(b.count, count, out=np.zeros(size), where=count > 0)
        apart = b.mean - a.mean
        return Moments(
            count=count,
            mean=a.mean + apart * share,
            squares=a.squares + b.squares + apart**2 * a.count * share,
        )

    def fleet(self) -> "Moments":
        """Returns the moments of all groups as one."""
        one = Moments.none(1)
        for index in range(len(self.count)):
            one = one.merged(self.at([index]))
        return one

    def at(self, groups: Sequence[int]) -> "Moments":
        """Returns the moments of some groups, in that order."""
        index = list(groups)
        return Moments(count=self.count[index], mean=self.mean[index], squares=self.squares[index])

    @property
    def deviation(self) -> Floats:
        """Standard deviation of each group; 0 without values."""
        return np.sqrt(
            np.divide(self.squares, self.count, out=np.zeros(len(self.count)), where=self.count > 0)
        )

    def _padded(self, size: int) -> "Moments":
        more = size - len(self.count)
        if not more:
            return self
        return Moments(
            count=np.pad(self.count, (0, more)),
            mean=np.pad(self.mean, (0, more)),
            squares=np.pad(self.squares, (0, more)),
        )
