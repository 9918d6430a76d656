"""Batches of a run: every window once, in the same order whatever the memory, checked bytes."""

import threading
import time
import weakref
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from argus_trainer.data.batch import Batch
from argus_trainer.data.grid import Grid
from argus_trainer.data.windows import SERVER_SHIFT
from argus_trainer.errors import DataError, Preempted

CADENCE = 600
STEPS_PER_CHUNK = 12


def ids(batches: Iterable[Batch]) -> list[int]:
    return [int(window) for batch in batches for window in batch.window_ids]


def test_windows_cross_chunks_and_blocks(prepared) -> None:
    # 30+10 steps are longer than a chunk (12) and than a block (24).
    run = prepared(encoder=30, decoder=10)
    dataset = run.dataset()
    assert len(ids(dataset.training_batches(0))) == 3 * (14 * STEPS_PER_CHUNK - 39)
    batch = next(dataset.validation_batches())
    assert batch.x["encoder_cont"].shape == (8, 30, 9)
    assert (batch.x["encoder_cont"][..., -1] != 0).all()


def test_no_training_decoder_reaches_the_split(prepared) -> None:
    run = prepared()
    border = int(run.plan.objects[run.plan.split.train_end].start.timestamp()) // CADENCE
    for batch in run.dataset().training_batches(0):
        assert int(batch.x["decoder_time_idx"].max()) < border
    for batch in run.dataset().validation_batches():
        assert int(batch.x["decoder_time_idx"].min()) >= border


def test_the_last_batch_is_short_and_kept(prepared) -> None:
    run = prepared(batch_size=100)
    sizes = [len(batch.window_ids) for batch in run.dataset().training_batches(0)]
    total = 3 * (14 * STEPS_PER_CHUNK - 8)
    assert sizes == [100] * (total // 100) + [total % 100]
    assert run.dataset().steps_per_epoch == len(sizes)


@pytest.mark.parametrize("first_step", [0, 1, 9, 31, 59])
def test_a_resume_gives_the_tail_of_the_order(prepared, first_step: int) -> None:
    run = prepared()
    whole = [batch.window_ids.tolist() for batch in run.dataset().training_batches(3)]
    assert len(whole) == 60
    tail = run.dataset().training_batches(3, first_step)
    assert [batch.window_ids.tolist() for batch in tail] == whole[first_step:]


def test_a_resume_reads_only_what_comes(prepared, chunk_of) -> None:
    run = prepared(mix_width=1)
    last = run.dataset().training_batches(0, 59)
    end = next(last).window_ids & ((1 << SERVER_SHIFT) - 1)
    first_of_plan = int(run.plan.objects[0].start.timestamp()) // CADENCE
    chunk = int(end.max() - first_of_plan) // STEPS_PER_CHUNK
    # Its block has two chunks, and one of halo: a chunk far from it may be gone.
    chunk_of(run.folder, 0 if chunk > 6 else 13).unlink()
    assert ids(run.dataset().training_batches(0, 59)) == ids(
        [*run.dataset(shares=run.memory.shares(run.memory.least)).training_batches(0, 59)]
    )


def test_a_changed_object_is_refused_by_name(prepared, chunk_of) -> None:
    run = prepared()
    file = chunk_of(run.folder, 3)
    file.write_bytes(file.read_bytes())
    with pytest.raises(DataError, match=r"chunk_20260302_06\.parquet changed under the run"):
        list(run.dataset().training_batches(0))


def test_statistics_of_other_data_are_refused(prepared) -> None:
    run = prepared()
    blocks = list(run.statistics.training_blocks)
    blocks[2] = blocks[2].model_copy(update={"mask_digest": "0" * 64})
    run.statistics = run.statistics.model_copy(update={"training_blocks": tuple(blocks)})
    with pytest.raises(DataError, match="has other windows"):
        list(run.dataset().training_batches(0))


def test_filled_decoder_steps_have_no_weight(prepared, rows) -> None:
    frame = rows(servers=["a"])
    start = frame["timestamp"].min()
    lost = frame["timestamp"].isin([start + timedelta(seconds=CADENCE * s) for s in (40, 41)])
    run = prepared(frame[~lost], encoder=20, decoder=10)
    first = int(start.timestamp()) // CADENCE
    weights: dict[int, set[float]] = {}
    for batch in run.dataset().training_batches(0):
        for steps, row in zip(batch.x["decoder_time_idx"], batch.weight, strict=True):
            for step, weight in zip(steps.tolist(), row.tolist(), strict=True):
                weights.setdefault(step - first, set()).add(weight)
    assert weights[40] == weights[41] == {0.0}
    assert all(found == {1.0} for step, found in weights.items() if step not in (40, 41))


def test_an_iteration_that_is_dropped_leaves_no_thread(prepared) -> None:
    batches = prepared().dataset().training_batches(0)
    next(batches)
    assert [t for t in threading.enumerate() if t.name.startswith("argus-blocks")]
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("argus-blocks")]


def test_waiting_for_a_store_that_is_silent_can_be_ended(
    prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared()
    answer = threading.Event()

    def stop() -> None:
        raise Preempted("SIGTERM")

    dataset = run.dataset(check=stop)
    get = run.store.get
    monkeypatch.setattr(
        type(run.store),
        "get",
        lambda self, key, etag=None: (answer.wait(30), get(key, etag=etag))[1],
    )
    began = time.monotonic()
    with pytest.raises(Preempted):
        next(dataset.training_batches(0))
    assert time.monotonic() - began < 5
    assert not [t for t in threading.enumerate() if t.name.startswith("argus-blocks")]
    answer.set()


def test_objects_of_a_block_are_fetched_together_as_memory_allows(
    prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared(block_chunks=4, mix_width=1)
    get, lock, under_way, seen = run.store.get, threading.Lock(), [], []

    def slow(self, key, etag=None):
        with lock:
            under_way.append(key)
            seen.append(len(under_way))
        time.sleep(0.02)
        content = get(key, etag=etag)
        with lock:
            under_way.remove(key)
        return content

    monkeypatch.setattr(type(run.store), "get", slow)
    expected = ids(run.dataset().training_batches(0))
    assert max(seen) >= 4
    seen.clear()
    least = run.memory.shares(run.memory.least)
    assert ids(run.dataset(shares=least).training_batches(0)) == expected
    assert max(seen) == 1


def test_memory_does_not_grow_with_the_data(
    rows, write_to, run_over, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most chunks that are decoded and blocks that are alive at once, over 60 chunks."""
    made: list[weakref.ref[object]] = []

    def counted(make):
        def make_and_count(*arguments):
            thing = make(*arguments)
            made.append(weakref.ref(thing))
            return thing

        return make_and_count

    monkeypatch.setattr(Grid, "chunk", counted(Grid.chunk))
    monkeypatch.setattr(Grid, "block", counted(Grid.block))

    def most(chunks: int) -> int:
        frame = rows(servers=["a"], chunks=chunks)
        run = run_over(write_to(frame, tmp_path / str(chunks))).prepare()
        found = 0
        for _ in run.dataset().training_batches(0):
            found = max(found, sum(thing() is not None for thing in made))
        return found

    # Two groups of two blocks at a border, two read ahead, one being made; a block's chunks.
    assert most(60) <= 7 + 3
    assert len(made) > 60
