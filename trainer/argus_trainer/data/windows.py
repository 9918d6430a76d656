"""Which windows exist: arithmetic on spans of time and on the mask of observed steps.

Steps are absolute: seconds since 1970 divided by the cadence. A window is named by its
server and its last step, and belongs to the block that holds that step; a block therefore
reads a halo of chunks before its own. S servers, T steps of a block with its halo.
"""

import hashlib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from argus_contract.data_spec import DataRules
from argus_contract.plan import PinnedObject, Plan
from argus_contract.spec import ModelSpec, TrainingSpec

SERVER_SHIFT = 40
"""A window id is `server code * 2**40 + last step`."""


@dataclass(frozen=True, kw_only=True)
class WindowRules:
    """What a window is: it sees `encoder` steps and predicts `decoder` steps."""

    encoder: int
    decoder: int
    max_gap_steps: int
    """Longest gap that is filled; a window with a longer one is no window."""
    min_observed_percent: int
    """Share of steps that must have been seen, in the encoder and in the decoder."""
    stride: int
    """A training window ends at a multiple of it, counted from 1970: so the windows do not
    depend on where the data begins."""

    @classmethod
    def of(cls, model: ModelSpec, data: DataRules, training: TrainingSpec) -> "WindowRules":
        return cls(
            encoder=model.encoder_length,
            decoder=model.prediction_length,
            max_gap_steps=data.gaps.max_gap_steps,
            min_observed_percent=data.gaps.min_observed_percent,
            stride=training.window_stride,
        )

    @property
    def window(self) -> int:
        return self.encoder + self.decoder


@dataclass(frozen=True, kw_only=True)
class Span:
    """The time of one block: windows end in [start, end), its grid begins at `first`."""

    first: int
    start: int
    end: int
    least_end: int
    """Windows that end before it are not of this part: their decoder reaches over the split."""
    stride: int
    """Only windows whose last step is a multiple of it are of this part."""
    objects: tuple[int, ...]
    """Indices into the plan's objects that overlap [first, end), in order of time."""

    @property
    def num_steps(self) -> int:
        return self.end - self.first


def object_steps(pinned: PinnedObject, cadence_seconds: int) -> tuple[int, int]:
    """Returns the steps [start, end) that belong to an object."""
    return (
        int(pinned.start.timestamp()) // cadence_seconds,
        int(pinned.end.timestamp()) // cadence_seconds,
    )


def training_spans(plan: Plan, cadence_seconds: int, rules: WindowRules) -> tuple[Span, ...]:
    """Returns the blocks of the training part, in order of time."""
    stop = plan.split.train_end
    return _spans(plan, cadence_seconds, rules, 0, stop, least_end=0, stride=rules.stride)


def validation_spans(plan: Plan, cadence_seconds: int, rules: WindowRules) -> tuple[Span, ...]:
    """Returns the blocks of the validation part: only their encoders reach back over the split."""
    begin, stop = plan.split.train_end, plan.split.validation_end
    border = object_steps(plan.objects[begin], cadence_seconds)[0]
    least_end = border + rules.decoder - 1
    return _spans(plan, cadence_seconds, rules, begin, stop, least_end=least_end, stride=1)


def _spans(
    plan: Plan,
    cadence_seconds: int,
    rules: WindowRules,
    begin: int,
    stop: int,
    *,
    least_end: int,
    stride: int,
) -> tuple[Span, ...]:
    steps = [object_steps(pinned, cadence_seconds) for pinned in plan.objects[:stop]]
    own: list[tuple[int, int]] = []
    # Objects that share their time are one chunk; a hole in time ends a block, so that no
    # grid is spanned over nothing.
    chunks = sorted(set(steps[begin:]))
    num_in_block = 0
    for start, end in chunks:
        if own and num_in_block < plan.block_chunks and start <= own[-1][1]:
            own[-1] = (own[-1][0], max(end, own[-1][1]))
            num_in_block += 1
        else:
            own.append((start, end))
            num_in_block = 1
    halo = rules.window - 1
    # Starts ascend; ends need not, but the latest end so far does.
    starts = [a for a, _ in steps]
    latest_ends = list(accumulate((b for _, b in steps), max))
    return tuple(
        Span(
            first=start - halo,
            start=start,
            end=end,
            least_end=least_end,
            stride=stride,
            objects=tuple(
                index
                for index in range(
                    bisect_right(latest_ends, start - halo), bisect_left(starts, end)
                )
                if steps[index][1] > start - halo
            ),
        )
        for start, end in own
    )


def window_positions(
    observed_ST: NDArray[np.bool_], span: Span, rules: WindowRules
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns (server codes, first steps relative to `span.first`) of the block's windows.

    Sorted by server, then time. A window begins and ends at an observed step, holds no gap
    longer than the rules allow, and enough observed steps on both sides of its middle: these
    are the windows that the stock class, too, finds in the rows that are there.
    """
    steps = observed_ST.shape[1]
    window, encoder = rules.window, rules.encoder
    index_T = np.arange(steps, dtype=np.int32)
    last_seen_ST = np.maximum.accumulate(np.where(observed_ST, index_T, -steps), axis=1)
    in_long_gap = _running_count(index_T - last_seen_ST > rules.max_gap_steps)
    seen = _running_count(observed_ST)
    starts = steps - window + 1
    valid = observed_ST[:, :starts] & observed_ST[:, window - 1 :]
    valid &= in_long_gap[:, window:] == in_long_gap[:, :starts]
    middle = seen[:, encoder : encoder + starts]
    valid &= middle - seen[:, :starts] >= _least_observed(rules, encoder)
    valid &= seen[:, window:] - middle >= _least_observed(rules, rules.decoder)
    valid[:, : max(0, span.least_end - span.start)] = False
    # The window of index 0 ends at span.start.
    valid[:, np.arange(span.start, span.start + starts) % span.stride != 0] = False
    codes, first = np.nonzero(valid)
    return codes, first


def window_ids(
    codes: NDArray[np.int64], first: NDArray[np.int64], span: Span, window: int
) -> NDArray[np.int64]:
    """Returns the ids of windows of `window` steps at such positions."""
    ids: NDArray[np.int64] = (codes << SERVER_SHIFT) + (span.first + first + window - 1)
    return ids


def mask_digest(ids: NDArray[np.int64]) -> str:
    """Returns the SHA-256 of a block's window ids."""
    return hashlib.sha256(window_bytes(ids)).hexdigest()


def window_bytes(ids: NDArray[np.int64]) -> bytes:
    """Returns ids as the digest takes them."""
    return ids.astype("<i8").tobytes()


def overlap(steps: tuple[int, int], span: Span) -> tuple[slice, slice]:
    """Returns the slices of an object's steps and of the block's grid that are the same time."""
    start, end = max(steps[0], span.first), min(steps[1], span.end)
    return (
        slice(start - steps[0], end - steps[0]),
        slice(start - span.first, end - span.first),
    )


def _running_count(flags_ST: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Returns [S, T + 1]: entry t counts the flags before step t."""
    counts = np.zeros((flags_ST.shape[0], flags_ST.shape[1] + 1), dtype=np.int32)
    np.cumsum(flags_ST, axis=1, out=counts[:, 1:])
    return counts


def _least_observed(rules: WindowRules, length: int) -> int:
    return -(-length * rules.min_observed_percent // 100)
