"""Drafts become batches: each at its place, in memory that is used again only when it is free, and
no block is held longer than its windows are copied."""

import hashlib
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from argus_trainer.data.batch import Batch, Gather
from argus_trainer.data.grid import Block, Grid
from argus_trainer.data.memory import Shares
from argus_trainer.data.order import EpochOrder
from argus_trainer.data.windows import Span, training_spans
from argus_trainer.errors import DataError

NO_SPARE = Shares(blocks_ahead=0, fetch_bytes=0, chunk_bytes=0, block_bytes=0)


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    listed = (value if isinstance(value, list) else [value] for value in batch.x.values())
    return [tensor for value in listed for tensor in value] + [
        *batch.y,
        batch.spread,
        batch.weight,
    ]


def digest_of(batch: Batch) -> str:
    seen = hashlib.sha256(batch.window_ids.tobytes())
    for tensor in tensors_of(batch):
        seen.update(tensor.contiguous().numpy().tobytes())
    return seen.hexdigest()


def digests(batches: Iterable[Batch]) -> list[str]:
    return [digest_of(batch) for batch in batches]


@pytest.fixture
def of_two_targets(prepared: Any, rows: Any) -> Any:
    return prepared(
        rows(status=True), targets=["cpu_user_pct", "load_average"], encoder=20, decoder=10
    )


def test_a_batch_holds_the_windows_of_its_place_block_by_block(
    of_two_targets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = of_two_targets
    ids_of_span = {}
    make = Grid.block

    def seen(self: Grid, span: Span, chunks: Any) -> Block:
        block = make(self, span, chunks)
        ids_of_span[span] = block.ids()
        return block

    monkeypatch.setattr(Grid, "block", seen)
    came = [batch.window_ids.tolist() for batch in run.dataset().training_batches(1)]
    spans = training_spans(run.plan, run.statistics.cadence_seconds, run.rules)
    order = EpochOrder(
        [block.windows for block in run.statistics.training_blocks],
        seed=run.seed,
        epoch=1,
        mix_width=run.mix_width,
    )
    line: list[tuple[int, int]] = []
    """Of each place of the epoch: the number of its block in the epoch, and its window."""
    for group in order.groups:
        numbered = [
            (run.mix_width * group.index + number, int(window))
            for number, block in enumerate(group.blocks)
            for window in ids_of_span[spans[block]]
        ]
        line += [numbered[place] for place in order.permutation(group)]
    size = run.batch_size
    batches = [line[begin : begin + size] for begin in range(0, len(line), size)]
    by_block = (sorted(batch, key=lambda one: one[0]) for batch in batches)
    assert came == [[window for _, window in batch] for batch in by_block]


def test_the_threads_of_the_training_are_as_many_as_before(of_two_targets: Any) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for _ in of_two_targets.dataset().training_batches(0):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_batches_that_are_kept_stay_as_they_came(of_two_targets: Any) -> None:
    kept, as_they_came = [], []
    for batch in of_two_targets.dataset().training_batches(0):
        as_they_came.append(digest_of(batch))
        kept.append(batch)
    assert digests(kept) == as_they_came
    assert digests(of_two_targets.dataset().training_batches(0)) == as_they_came


def test_one_view_of_a_batch_keeps_all_of_its_memory(of_two_targets: Any) -> None:
    """The rest of each batch is dropped at once, so its memory looks free soonest."""
    places = range(len(tensors_of(next(of_two_targets.dataset().training_batches(0)))))
    kept = [
        (number, tensors_of(batch)[number % len(places)])
        for number, batch in enumerate(of_two_targets.dataset().training_batches(0))
    ]
    assert len(kept) > 2 * len(places)
    anew = of_two_targets.dataset().training_batches(0)
    for (number, tensor), batch in zip(kept, anew, strict=True):
        assert torch.equal(tensor, tensors_of(batch)[number % len(places)])


def test_no_more_memory_is_taken_than_is_accounted(
    of_two_targets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: set[int] = set()
    memory = Gather.memory

    def seen(self: Gather) -> torch.Tensor:
        rows_BX = memory(self)
        taken.add(rows_BX.data_ptr())
        return rows_BX

    monkeypatch.setattr(Gather, "memory", seen)
    dataset = of_two_targets.dataset()
    for epoch in (0, 1):
        for batch in dataset.training_batches(epoch):
            del batch
        for batch in dataset.validation_batches():
            assert batch.window_ids.size
    # The one in use, and the one that is filled.
    assert len(taken) <= 2


def test_other_blocks_come_only_when_the_windows_of_the_last_ones_are_copied(
    prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared(mix_width=2, batch_size=50)
    blocks: list[weakref.ref[Block]] = []
    alive: list[int] = []
    make = Grid.block

    def counted(self: Grid, *given: Any) -> Block:
        alive.append(sum(block() is not None for block in blocks))
        block = make(self, *given)
        blocks.append(weakref.ref(block))
        return block

    monkeypatch.setattr(Grid, "block", counted)
    for _ in run.dataset(shares=NO_SPARE).training_batches(0):
        pass
    assert len(alive) > 6
    assert max(alive) <= 1  # the first one of the same group


def test_batches_before_a_broken_object_come_and_then_its_name(
    prepared: Any, chunk_of: Any
) -> None:
    run = prepared(mix_width=1)
    whole = digests(run.dataset().training_batches(0))
    file = chunk_of(run.folder, 3)
    file.write_bytes(file.read_bytes())
    came: list[str] = []
    with pytest.raises(DataError, match=r"chunk_20260302_06\.parquet changed under the run"):
        came.extend(map(digest_of, run.dataset(shares=NO_SPARE).training_batches(0)))
    assert came == whole[: len(came)]
    # Blocks of this epoch that need no such object come before those that do.
    assert 0 < len(came) < len(whole)


def test_an_error_of_one_copy_comes_in_its_place(
    prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared()
    whole = digests(run.dataset().training_batches(0))
    batch = Gather.batch

    def fails(self: Gather, rows_BX: torch.Tensor, ids: Any) -> Batch:
        made = batch(self, rows_BX, ids)
        if digest_of(made) == whole[17]:
            raise MemoryError("batch 17")
        return made

    monkeypatch.setattr(Gather, "batch", fails)
    batches = run.dataset().training_batches(0)
    assert [digest_of(next(batches)) for _ in range(17)] == whole[:17]
    with pytest.raises(MemoryError, match="batch 17"):
        next(batches)
    assert not [t for t in threading.enumerate() if t.name.startswith("argus-b")]
