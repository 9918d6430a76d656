"""The figure of mixing is what one counts in the order itself."""

import numpy as np
import pytest

from argus_trainer.data.order import EpochOrder
from argus_trainer.data.shuffle import full_shuffle_share, same_block_share

WINDOWS = [300, 500, 0, 100, 400, 250, 450, 350, 120, 380]


def counted(windows: list[int], mix_width: int) -> float:
    """Returns the share among all pairs of places of a group, from the order itself."""
    order = EpochOrder(windows, seed=8, epoch=0, mix_width=mix_width)
    share = 0.0
    for group in order.groups:
        blocks = np.zeros(group.windows, dtype=np.int64)
        for place, window in enumerate(order.permutation(group)):
            (draw,) = order.draws(group, np.array([window]))
            blocks[place] = draw.block
        share += group.windows * float((blocks[:, None] == blocks[None]).mean())
    return share / order.windows


@pytest.mark.parametrize("mix_width", [1, 2, 4])
def test_the_share_is_that_of_the_order(mix_width: int) -> None:
    share = same_block_share(WINDOWS, seed=8, mix_width=mix_width)
    assert share == pytest.approx(counted(WINDOWS, mix_width))


def test_one_group_of_all_blocks_is_a_full_shuffle_and_one_block_is_none() -> None:
    full = full_shuffle_share(WINDOWS)
    assert same_block_share(WINDOWS, seed=1, mix_width=len(WINDOWS)) == pytest.approx(full)
    assert same_block_share(WINDOWS, seed=1, mix_width=1) == 1.0
    assert full_shuffle_share([7] * 20) == pytest.approx(1 / 20)
