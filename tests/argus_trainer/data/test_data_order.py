"""The order of windows is arithmetic: each once, from any place, the same everywhere."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from argus_trainer.data.order import EpochOrder

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def drawn(order: EpochOrder, place: int = 0) -> list[tuple[int, int]]:
    """Returns (block, window) from a place of the epoch on."""
    found = []
    for group in order.groups_from(place):
        permutation = order.permutation(group)[max(place - group.begin, 0) :]
        for window in permutation:
            (draw,) = order.draws(group, np.array([window]))
            found.append((draw.block, int(draw.windows[0])))
    return found


@given(counts=COUNTS, seed=st.integers(0, 9), epoch=st.integers(0, 9), mix=st.integers(1, 5))
def test_each_window_is_drawn_exactly_once(
    counts: list[int], seed: int, epoch: int, mix: int
) -> None:
    order = EpochOrder(counts, seed=seed, epoch=epoch, mix_width=mix)
    expected = [(block, window) for block, size in enumerate(counts) for window in range(size)]
    assert sorted(drawn(order)) == expected
    assert order.windows == len(expected)


@settings(max_examples=30)
@given(counts=COUNTS, place=st.integers(0, 480))
def test_any_place_is_reached_without_what_came_before(counts: list[int], place: int) -> None:
    order = EpochOrder(counts, seed=1, epoch=2, mix_width=3)
    assert drawn(order, place) == drawn(order)[place:]


@given(counts=COUNTS, most=st.integers(1, 500), mix=st.integers(1, 5))
def test_a_shorter_epoch_is_the_beginning_of_the_whole(
    counts: list[int], most: int, mix: int
) -> None:
    whole = drawn(EpochOrder(counts, seed=4, epoch=1, mix_width=mix))
    order = EpochOrder(counts, seed=4, epoch=1, mix_width=mix, most_windows=most)
    assert drawn(order) == whole[:most]
    assert order.windows == len(whole[:most])


def test_only_the_blocks_of_a_group_are_mixed() -> None:
    order = EpochOrder([10] * 12, seed=3, epoch=0, mix_width=4)
    blocks = [block for block, _ in drawn(order)]
    for start in range(0, 120, 40):
        assert len(set(blocks[start : start + 40])) == 4
    assert len(set(blocks[:20])) > 1


def test_epochs_and_seeds_differ() -> None:
    def first(seed: int, epoch: int) -> list[tuple[int, int]]:
        return drawn(EpochOrder([50] * 6, seed=seed, epoch=epoch, mix_width=2))

    assert first(1, 0) != first(1, 1)
    assert first(1, 0) != first(2, 0)
    assert first(1, 0) == first(1, 0)


def test_the_order_is_the_same_on_every_machine_and_version() -> None:
    """A saved place means these windows for ever: a change here breaks every resume."""
    order = EpochOrder([5, 0, 4, 6], seed=42, epoch=3, mix_width=2)
    assert drawn(order) == GOLDEN


def test_without_a_seed_the_order_is_that_of_time() -> None:
    assert drawn(EpochOrder([2, 0, 3])) == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]


GOLDEN = [
    (3, 0),
    (3, 3),
    (0, 4),
    (3, 2),
    (3, 5),
    (0, 2),
    (3, 4),
    (3, 1),
    (0, 1),
    (0, 0),
    (0, 3),
    (2, 3),
    (2, 2),
    (2, 1),
    (2, 0),
]
