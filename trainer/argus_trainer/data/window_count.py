"""How many windows each block has, from masks of observed steps packed to bits.

Price: a bit for each server and step stays in memory until the windows are counted (65 MB for
half a billion rows); a block is unpacked for some servers at a time.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argus_contract.plan import BlockStatistics
from argus_trainer.data.moments import Indices
from argus_trainer.data.reasons import Part, no_window
from argus_trainer.data.windows import (
    Span,
    WindowRules,
    overlap,
    window_bytes,
    window_ids,
    window_positions,
)

CELLS = 1 << 21
"""Servers times steps that are unpacked at once: some 20 bytes each while windows are found."""


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Observed steps of one object."""

    steps: tuple[int, int]
    codes: Indices
    """[S] codes of its servers."""
    observed_SB: NDArray[np.uint8]
    """[S, steps] packed to bits along the steps."""


def count_windows(
    masks: list[Mask], order: Indices, spans: Iterable[Span], rules: WindowRules
) -> tuple[tuple[BlockStatistics, ...], NDArray[np.bool_]]:
    """Returns windows and digest of each block, for the servers with these codes in this order.

    `masks` are those of the plan's objects. The second value says of each server whether it has
    a window.
    """
    # Servers that are not in the order are in no block.
    row_of_code = np.full(1 + max(int(mask.codes.max(initial=0)) for mask in masks), -1)
    row_of_code[order] = np.arange(len(order))
    has_window = np.zeros(len(order), dtype=np.bool_)
    blocks = tuple(_block(masks, row_of_code, has_window, span, rules) for span in spans)
    return blocks, has_window


def windows_of_part(
    part: Part,
    masks: list[Mask],
    order: Indices,
    spans_of: Callable[[WindowRules], Sequence[Span]],
    rules: WindowRules,
) -> tuple[tuple[BlockStatistics, ...], NDArray[np.bool_]]:
    """Returns what `count_windows` does. Raises DataError, which says why, without one window."""

    def count(rules: WindowRules) -> int:
        blocks, _ = count_windows(masks, order, spans_of(rules), rules)
        return sum(block.windows for block in blocks)

    found = count_windows(masks, order, spans_of(rules), rules)
    if not any(block.windows for block in found[0]):
        raise no_window(part, rules, count)
    return found


def _block(
    masks: list[Mask],
    row_of_code: Indices,
    has_window: NDArray[np.bool_],
    span: Span,
    rules: WindowRules,
) -> BlockStatistics:
    """Returns one block's, and marks the servers that have a window in it."""
    num_servers = len(has_window)
    num_windows, digest = 0, hashlib.sha256()
    at_once = max(1, CELLS // span.num_steps)
    for begin in range(0, num_servers, at_once):
        end = min(begin + at_once, num_servers)
        observed_ST = np.zeros((end - begin, span.num_steps), dtype=np.bool_)
        for index in span.objects:
            mask = masks[index]
            rows = row_of_code[mask.codes]
            here = (rows >= begin) & (rows < end)
            theirs, ours = overlap(mask.steps, span)
            num_steps = mask.steps[1] - mask.steps[0]
            bits = np.unpackbits(mask.observed_SB[here], axis=1, count=num_steps)
            observed_ST[rows[here] - begin, ours] |= bits[:, theirs].view(np.bool_)
        servers, first = window_positions(observed_ST, span, rules)
        has_window[servers + begin] = True
        ids = window_ids(servers + begin, first, span, rules.window)
        num_windows += len(ids)
        digest.update(window_bytes(ids))
    return BlockStatistics(windows=num_windows, mask_digest=digest.hexdigest())
