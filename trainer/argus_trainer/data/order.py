"""In which order windows are drawn: a function of the seed, the epoch and the counts alone.

Blocks are permuted; `mix_width` blocks that follow each other then form a group, and all
windows of a group are permuted together. A place in the epoch is a number: any of it is
computed without what came before. The permutations sort raw words of a Philox counter keyed
by a hash, so they depend on no library's way of shuffling. Price: eight bytes and a sort for
each window of a group.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Group:
    """Blocks whose windows are shuffled together."""

    index: int
    blocks: tuple[int, ...]
    begin: int
    """Place of the group's first window in the epoch."""
    offsets: NDArray[np.int64]
    """[blocks + 1] places in the group at which the windows of each block begin, and the end."""

    @property
    def windows(self) -> int:
        return int(self.offsets[-1])

    @property
    def end(self) -> int:
        return self.begin + self.windows


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The windows of one block that are drawn by one batch, in their order."""

    block: int
    windows: NDArray[np.int64]
    """[k] indices among the block's windows."""


class EpochOrder:
    """The order of one epoch, or, without a seed, the order of time."""

    def __init__(
        self,
        windows_of_block: Sequence[int],
        *,
        seed: int | None = None,
        epoch: int = 0,
        mix_width: int = 1,
        most_windows: int | None = None,
    ) -> None:
        """`most_windows` ends the epoch after so many: the order is that of the whole, cut."""
        self._windows = np.array(windows_of_block, dtype=np.int64)
        self._seed, self._epoch = seed, epoch
        blocks = self._permuted(len(self._windows), "blocks")
        filled = [int(block) for block in blocks if self._windows[block]]
        groups: list[Group] = []
        begin = 0
        for first in range(0, len(filled), mix_width):
            members = tuple(filled[first : first + mix_width])
            offsets = np.concatenate([[0], np.cumsum(self._windows[list(members)])])
            group = Group(index=len(groups), blocks=members, begin=begin, offsets=offsets)
            groups.append(group)
            begin = group.end
        self.windows = begin if most_windows is None else min(begin, most_windows)
        self.groups = tuple(group for group in groups if group.begin < self.windows)

    def groups_from(self, place: int) -> tuple[Group, ...]:
        """Returns the groups that hold the windows from this place on."""
        return tuple(group for group in self.groups if group.end > place)

    def draws(self, group: Group, drawn: NDArray[np.int64]) -> Iterator[Draw]:
        """Yields, block by block, the windows that are `drawn`: [k] of `permutation`."""
        member = np.searchsorted(group.offsets, drawn, side="right") - 1
        for index, block in enumerate(group.blocks):
            mine = drawn[member == index]
            if len(mine):
                yield Draw(block=block, windows=mine - group.offsets[index])

    def permutation(self, group: Group) -> NDArray[np.int64]:
        """Returns the order of the group's windows that are drawn, counted through its blocks."""
        whole = self._permuted(group.windows, f"group {group.index}")
        return whole[: self.windows - group.begin]

    def _permuted(self, size: int, what: str) -> NDArray[np.int64]:
        if self._seed is None:
            return np.arange(size)
        return _permutation(size, f"seed {self._seed}, epoch {self._epoch}, {what}")


def _permutation(size: int, key: str) -> NDArray[np.int64]:
    digest = hashlib.sha256(key.encode()).digest()
    words = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(size)
    return np.argsort(words, kind="stable")
