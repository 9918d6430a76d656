"""What a budget counts: blocks, those ahead, decoded chunks, bytes on their way, statistics."""

import contextlib
import dataclasses
import hashlib
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from argus_contract.data_spec import DataRules
from argus_contract.plan import PinnedObject, Statistics
from argus_trainer.data import decode, fetch, memory
from argus_trainer.data.decode import ChunkFile
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.grid import Grid
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.kept_contents import KeptContents
from argus_trainer.data.memory import MIB, SurveyShares, block_bytes, quantity
from argus_trainer.data.record import RecordForm, record_of
from argus_trainer.data.record_cache import RecordCache
from argus_trainer.data.room import Room
from argus_trainer.data.rules import Rules
from argus_trainer.data.statistics import make_statistics
from argus_trainer.data.step_record import Record
from argus_trainer.data.survey import Survey
from argus_trainer.data.windows import training_spans, validation_spans
from argus_trainer.errors import ConfigurationError
from argus_trainer.storage.local import LocalStore

KIB = 2**10


class Reads:
    """What a folder was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests = self.bytes = 0
        self._lock = threading.Lock()
        for name in ("get", "get_range"):
            monkeypatch.setattr(LocalStore, name, self._counted(getattr(LocalStore, name)))

    def _counted(self, read: Callable[..., bytes]) -> Callable[..., bytes]:
        def counted(store: LocalStore, key: str, *given: Any, **options: Any) -> bytes:
            content = read(store, key, *given, **options)
            if key.endswith(".parquet"):
                with self._lock:
                    self.requests += 1
                    self.bytes += len(content)
            return content

        return counted

    def taken(self) -> tuple[int, int]:
        """Returns requests and bytes since the last call."""
        with self._lock:
            found = self.requests, self.bytes
            self.requests = self.bytes = 0
        return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def no_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics of small data within budgets that are as small."""
    monkeypatch.setattr(memory, "SURVEY_LEAST", 0)


def statistics_of(run: Any, budget: int | None) -> Statistics:
    """Returns the statistics of a run, made within a budget and from the objects alone."""
    shares = SurveyShares.of(run.plan, budget)
    run.kept_in = f"kept-{budget}"
    with Fetcher(
        run.store, max_bytes=shares.fetch_bytes, slice_bytes=shares.slice_bytes
    ) as fetcher:
        return make_statistics(
            fetcher,
            run.plan,
            run.data,
            run.model,
            run.training,
            cache=RecordCache(
                run.checkpoints,
                run.data,
                run.model,
                say=run.said.append,
                most_bytes=shares.record_bytes,
            ),
            decode_bytes=shares.decode_bytes,
            check=lambda: None,
        )


# --- a running epoch ------------------------------------------------------------------------


class Living:
    """Bytes of what a grid made and somebody still holds, and the most that there were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.most = 0
        self._made: list[tuple[weakref.ref[Any], int]] = []
        make = getattr(Grid, name)

        def and_watch(*given: Any) -> Any:
            one = make(*given)
            self._made.append((weakref.ref(one), one.num_bytes))
            self.most = max(self.most, self.now)
            return one

        monkeypatch.setattr(Grid, name, and_watch)

    @property
    def now(self) -> int:
        return sum(size for ref, size in self._made if ref() is not None)


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_blocks_and_chunks_that_live_stay_within_their_shares(
    prepared: Any, rows: Any, monkeypatch: pytest.MonkeyPatch, kept: float
) -> None:
    run = prepared(rows(chunks=60), block_chunks=2, mix_width=2)
    memory = run.memory
    for_kept = round(kept * memory.blocks)
    budget = memory.recommended + for_kept
    shares = memory.shares(budget)
    blocks, chunks = Living(monkeypatch, "block"), Living(monkeypatch, "chunk")
    dataset = run.dataset(shares=shares)
    for epoch in (0, 1):
        for _ in dataset.training_batches(epoch):
            pass
    assert shares.block_bytes is not None
    drawn_and_ahead = (memory.mix_width + shares.blocks_ahead) * memory.block
    assert blocks.most <= drawn_and_ahead + shares.block_bytes
    # What is allowed is used: another block would not have room.
    assert blocks.now >= min(epoch_bytes(run), for_kept - memory.block)
    a_chunk = memory.chunks // max(len(block.objects) for block in spans(run))
    assert chunks.most <= shares.chunk_bytes + a_chunk


def epoch_bytes(run: Any) -> int:
    """Returns the memory of the blocks that a training reads."""
    training = spans(run)[: len(run.statistics.training_blocks)]
    record, servers = Record.of(Inputs.of(run.statistics)), len(run.statistics.servers)
    found = run.statistics.training_blocks
    return sum(
        block_bytes(span, servers, record, block.windows)
        for span, block in zip(training, found, strict=True)
    )


def test_no_more_blocks_are_made_ahead_than_the_budget_allows(
    prepared: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared(rows(chunks=60), block_chunks=2, mix_width=2)
    shares = dataclasses.replace(run.memory.shares(run.memory.least), blocks_ahead=1)
    allowed, one_more = threading.Event(), threading.Event()
    make, made = Grid.block, []

    def counted(*given: Any) -> Any:
        made.append(make(*given))
        if len(made) == run.mix_width + shares.blocks_ahead:
            allowed.set()
        elif allowed.is_set():
            one_more.set()
        return made[-1]

    monkeypatch.setattr(Grid, "block", counted)
    batches = run.dataset(shares=shares).training_batches(0)
    next(batches)
    assert allowed.wait(60)
    assert not one_more.wait(0.5)
    batches.close()


def spans(run: Any) -> Any:
    cadence = run.statistics.cadence_seconds
    return (
        *training_spans(run.plan, cadence, run.rules),
        *validation_spans(run.plan, cadence, run.rules),
    )


def test_each_object_that_a_plan_knows_counts(prepared: Any, rows: Any) -> None:
    run = prepared(rows(chunks=40))
    fewer = run.plan.model_copy(update={"objects": run.plan.objects[:39]})
    whole = run.memory.needed
    run.plan = fewer
    assert 2 * KIB < whole - run.memory.needed < 8 * KIB


# --- statistics -----------------------------------------------------------------------------


class Decoding:
    """Bytes that are said to be decoded at once, and how many objects."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_bytes = self.most_objects = 0
        now: list[int] = []
        lock = threading.Lock()
        make = Survey._made_of
        meet = threading.Barrier(2)

        def made(survey: Survey, index: int, file: ChunkFile) -> Any:
            size = len(survey._fetcher.source.get(survey._objects[index].key))
            need = size + file.decoding_bytes(len(survey.form.metrics))
            with lock:
                now.append(need)
                self.most_bytes = max(self.most_bytes, sum(now))
                self.most_objects = max(self.most_objects, len(now))
            if index == 0:
                # Long enough for another decoder to begin, if it may.
                with contextlib.suppress(threading.BrokenBarrierError):
                    meet.wait(0.3)
            elif index == 1 and not meet.broken:
                with contextlib.suppress(threading.BrokenBarrierError):
                    meet.wait(0.3)
            try:
                return make(survey, index, file)
            finally:
                with lock:
                    now.remove(need)

        monkeypatch.setattr(Survey, "_made_of", made)


def wide(rows: Any) -> pd.DataFrame:
    return rows(servers=[f"s{n:03d}" for n in range(100)])


@pytest.mark.usefixtures("no_least")
def test_decoders_share_what_the_budget_leaves_and_wait_for_it(
    run_over: Any, rows: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_over(write(wide(rows)))
    run.plan = run.make_plan()
    decoding = Decoding(monkeypatch)
    free = statistics_of(run, None)
    assert decoding.most_objects == 2
    two = decoding.most_bytes
    decoding.most_bytes = decoding.most_objects = 0
    # Five eighths of a budget are for decoding: not enough for two of them.
    budget = round(0.8 * two / (5 / 8))
    monkeypatch.setattr(Survey, "_is_large", lambda survey, index: False)
    assert statistics_of(run, budget) == free
    assert decoding.most_objects == 1
    assert decoding.most_bytes <= SurveyShares.of(run.plan, budget).decode_bytes


@pytest.mark.usefixtures("no_least")
def test_an_object_that_cannot_be_decoded_within_the_budget_is_named_with_a_way_out(
    run_over: Any, rows: Any, write: Any
) -> None:
    run = run_over(write(wide(rows)))
    run.plan = run.make_plan()
    with pytest.raises(ConfigurationError) as refused:
        statistics_of(run, 100 * KIB)
    text = str(refused.value)
    assert text.startswith(f"{run.folder}/server_metrics_partitioned/chunk_20260302_00.parquet")
    assert "training.memoryBudget" in text
    assert "argus import" in text
    # What it says is enough.
    least = int(text.partition("to at least ")[2].partition("Mi")[0]) * MIB
    assert statistics_of(run, least) == statistics_of(run, None)


def test_rows_that_are_decoded_take_what_is_said(rows: Any, tmp_path: Path) -> None:
    """The estimate against what NumPy holds at its peak, and what Arrow does at its own."""
    metrics = ("cpu_user_pct", "mem_used_pct", "load_average")
    frame = rows(servers=[f"s{n:04d}" for n in range(50)], chunks=300, metrics=metrics)
    (file,) = in_one_file(frame, tmp_path / "data").iterdir()
    content = file.read_bytes()
    start = int(frame["timestamp"].min().timestamp()) // 600
    form = RecordForm(
        cadence_seconds=600,
        features=metrics[1:],
        targets=metrics[:1],
        has_status=False,
        has_profile=False,
    )
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(pa.system_memory_pool())
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        chunk = ChunkFile("file", content, Rules.of(DataRules()))
        said = chunk.decoding_bytes(len(metrics))
        columns = chunk.columns(metrics, status=False, profile=False)
        record = record_of(columns, (start, start + 300 * 12), form)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    assert record.rows == len(frame)
    assert peak < said
    assert pool.max_memory() < said
    assert peak > said / 2


def test_room_is_given_back_and_never_exceeded() -> None:
    room = Room(10)
    begun = threading.Event()
    order: list[str] = []

    def second() -> None:
        begun.set()
        with room.of(6, "second"):
            order.append("second")

    thread = threading.Thread(target=second)
    with room.of(6, "first"):
        thread.start()
        begun.wait(10)
        thread.join(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    with pytest.raises(ConfigurationError, match="third takes about 1Mi"), room.of(11, "third"):
        pass


def test_shares_of_statistics_stay_within_the_budget(prepared: Any) -> None:
    plan = prepared().plan
    assert SurveyShares.of(plan, 1) == SurveyShares.of(plan, 64 * MIB)
    for budget in (64 * MIB, 65 * MIB + 7, 1024 * MIB):
        shares = SurveyShares.of(plan, budget)
        assert shares.decode_bytes is not None
        assert 2 * shares.decode_bytes >= budget
        spent = shares.fetch_bytes + shares.slice_bytes + 4 * shares.record_bytes
        assert spent + shares.decode_bytes == budget


# --- objects of several chunks --------------------------------------------------------------


def in_one_file(frame: pd.DataFrame, folder: Path, **options: Any) -> Path:
    folder.mkdir()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, folder / "month.parquet", **options)
    return folder


@pytest.fixture
def month(rows: Any, run_over: Any, tmp_path: Path) -> Callable[..., Any]:
    """Returns a function that makes a planned run over one file of 15 chunks of two days."""

    def make(**options: Any) -> Any:
        frame = rows(servers=[f"s{n:02d}" for n in range(10)], chunks=30 * 12)
        run = run_over(in_one_file(frame, tmp_path / "month", **options), encoder=60, decoder=30)
        run.plan = run.make_plan()
        return run

    return make


@pytest.mark.usefixtures("no_least")
def test_a_month_in_one_file_is_fetched_once_in_a_pass_where_it_may_stay(
    month: Any, reads: Reads
) -> None:
    run = month(row_group_size=5_000)
    size = run.plan.objects[0].size
    num_chunks = run.plan.split.validation_end
    assert len(run.plan.files()) == 1
    assert num_chunks == 14
    reads.taken()
    run.statistics = statistics_of(run, None)
    assert reads.taken() == (1, size)
    # Without room: once for each chunk that it reaches into, and whole, as it is small.
    assert statistics_of(run, 7 * size) == run.statistics
    requests, fetched = reads.taken()
    # The first one is read once more, to learn the columns.
    assert (requests, fetched) == (num_chunks, num_chunks * size)
    memory = run.memory
    assert memory.slices == size
    for _ in run.dataset(shares=memory.shares(memory.recommended)).training_batches(0):
        pass
    assert reads.taken() == (1, size)


@pytest.mark.usefixtures("no_least")
@pytest.mark.parametrize("groups", [20, 1])
def test_of_a_large_file_only_row_groups_of_the_chunk_are_read(
    month: Any, reads: Reads, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = month(row_group_size=-(-30 * 144 * 10 // groups))
    size = run.plan.objects[0].size
    run.statistics = statistics_of(run, None)
    whole = digest(run)
    monkeypatch.setattr(fetch, "LARGE_BYTES", 10 * KIB)
    monkeypatch.setattr(fetch, "LARGE_SLICED_BYTES", 10 * KIB)
    monkeypatch.setattr(decode, "LARGE", 100 * KIB)
    reads.taken()
    assert statistics_of(run, 7 * size) == run.statistics
    _, fetched = reads.taken()
    # A chunk is two days of thirty, and its neighbours' row groups begin within it.
    assert fetched < (3 if groups > 1 else 16) * size
    assert digest(run, slice_bytes=0) == whole


def digest(run: Any, **shares: int) -> str:
    """Returns the bits of an epoch."""
    memory = run.memory
    given = dataclasses.replace(memory.shares(memory.recommended), **shares)
    seen = hashlib.sha256()
    for batch in run.dataset(shares=given).training_batches(0):
        seen.update(np.ascontiguousarray(batch.x["encoder_cont"].numpy()).tobytes())
        seen.update(batch.window_ids.tobytes())
    return seen.hexdigest()


def test_an_object_that_several_ask_for_at_once_is_fetched_once_and_errors_reach_all() -> None:
    now = datetime(2025, 1, 1, tzinfo=UTC)
    one = PinnedObject(key="a", size=4, etag="e", start=now, end=now, sliced=True)
    kept, begun, go = KeptContents(4), threading.Event(), threading.Event()
    asked: list[str] = []

    def read(pinned: PinnedObject) -> bytes:
        asked.append(pinned.key)
        begun.set()
        go.wait(10)
        if len(asked) == 1:
            raise OSError("gone")
        return b"1234"

    failures: list[str] = []

    def ask() -> None:
        try:
            kept.get(one, read)
        except OSError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    threads[0].start()
    begun.wait(10)
    for thread in threads[1:]:
        thread.start()
        thread.join(0.05)
    go.set()
    for thread in threads:
        thread.join(10)
    assert (asked, failures) == (["a"], ["gone"] * 3)
    # An error is not kept, what was read is, and only what has room.
    assert [kept.get(one, read), kept.get(one, read)] == [b"1234", b"1234"]
    assert asked == ["a", "a"]
    other = one.model_copy(update={"key": "b"})
    kept.get(other, read)
    kept.get(one, read)
    assert asked == ["a", "a", "b", "a"]


# --- what is told ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "1"), (1024, "1Ki"), (3 * MIB, "3Mi"), (2**30, "1Gi"), (MIB + 1, "1048577"), (0, "0")],
)
def test_a_budget_is_told_as_it_was_given(count: int, text: str) -> None:
    assert quantity(count) == text


def test_a_budget_of_one_byte_is_refused_as_one_byte_with_the_least(prepared: Any) -> None:
    memory = prepared().memory
    least = -(-memory.least // MIB)
    with pytest.raises(ConfigurationError, match=rf"memoryBudget 1 is .* set at least {least}Mi"):
        memory.shares(1)


# --- what was freed -------------------------------------------------------------------------


def test_what_arrow_and_the_heap_free_goes_back_to_the_system() -> None:
    """In a process of its own, as both settings are the process's."""
    script = """
import numpy as np, pyarrow as pa
from argus_trainer.data.heap import give_back, keep_heaps_few
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
keep_heaps_few()
assert pa.default_memory_pool().backend_name == "system"
before = resident()
small = [np.ones(4000) for _ in range(3000)]
last = bytearray(64)
assert resident() - before > 90e6
del small
give_back()
assert resident() - before < 10e6, resident() - before
"""
    subprocess.run([sys.executable, "-c", script], check=True)
