"""How well windows are mixed: how often two neighbours in the order are of the same block.

Windows of one block are alike, so a batch should hold windows of many. Take a place of the
epoch at random, and another one of its group: the share that names the same block is the sum
over groups of W_g / W times the sum over their blocks of (w / W_g)**2, where w, W_g and W are the
windows of a block, of a group and of the epoch. A full shuffle is one group of all blocks;
groups of one block, which are no mixing at all, have 100 %.
"""

from collections.abc import Sequence

from argus_trainer.data.order import EpochOrder


def same_block_share(windows_of_block: Sequence[int], *, seed: int, mix_width: int) -> float:
    """Returns the share in the first epoch, from 0 to 1; at least one window is needed."""
    order = EpochOrder(windows_of_block, seed=seed, mix_width=mix_width)
    pairs = sum(
        sum(windows_of_block[block] ** 2 for block in group.blocks) / group.windows
        for group in order.groups
    )
    return pairs / order.windows


def full_shuffle_share(windows_of_block: Sequence[int]) -> float:
    """Returns the same figure of a shuffle of all windows."""
    total = sum(windows_of_block)
    return sum((windows / total) ** 2 for windows in windows_of_block)
