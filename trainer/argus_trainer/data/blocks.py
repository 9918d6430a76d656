"""Blocks from the store: read by one thread ahead of need, a bounded number at a time.

A block that is taken belongs to the taker; the reader keeps only decoded chunks for the
halo of a next block, and, if all are to stay, every block it made. What it reads is checked:
an object that changed, or a block that enumerates other windows than the statistics say, is
refused by name.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from argus_contract.plan import BlockStatistics, Plan, Statistics
from argus_trainer.data.chunk_reader import ChunkReader
from argus_trainer.data.decode import content_of
from argus_trainer.data.grid import Block, ChunkGrid, Grid
from argus_trainer.data.windows import Span, mask_digest, object_steps
from argus_trainer.errors import DataError
from argus_trainer.storage.store import Store

CHECK_SECONDS = 0.2
"""How often a wait looks whether it should go on."""


class BlockReader:
    """Makes the blocks of one part (training or validation) of a run."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        statistics: Statistics,
        chunks: ChunkReader,
        grid: Grid,
        spans: Sequence[Span],
        expected: Sequence[BlockStatistics],
        *,
        keep_all: bool,
    ) -> None:
        if len(spans) != len(expected):
            raise DataError(
                f"statistics.json has {len(expected)} blocks and the plan {len(spans)}: "
                "they are of different runs; start a new run"
            )
        self._store, self._plan, self._grid = store, plan, grid
        self._statistics, self._reader = statistics, chunks
        self._spans, self._expected = spans, expected
        self._kept: dict[int, Block] | None = {} if keep_all else None
        self._chunks: OrderedDict[int, ChunkGrid] = OrderedDict()
        self._most_chunks = max(len(span.objects) for span in spans)
        self._lock = threading.Lock()

    @contextmanager
    def ahead(
        self, blocks: Sequence[int], num_ahead: int, check: Callable[[], None]
    ) -> Iterator[Callable[[], Block]]:
        """Gives a function that returns the blocks one after another.

        At most `num_ahead` blocks beyond the one that was taken last are made before they are
        asked for. While it waits, it calls `check`, which may raise. The thread ends with the
        context.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix="argus-blocks")
        todo = iter(blocks)
        made: list[Future[Block]] = []

        def take() -> Block:
            while len(made) <= num_ahead:
                block = next(todo, None)
                if block is None:
                    break
                made.append(pool.submit(self._block, block))
            first = made.pop(0)
            while not wait([first], timeout=CHECK_SECONDS).done:
                check()
            return first.result()

        try:
            yield take
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _block(self, index: int) -> Block:
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        span = self._spans[index]
        block = self._grid.block(span, [self._chunk(number) for number in span.objects])
        expected = self._expected[index]
        if len(block.ids) != expected.windows or mask_digest(block.ids) != expected.mask_digest:
            raise DataError(
                f"{self._plan.data_uri}: the block from {self._plan.objects[span.objects[0]].key} "
                f"has other windows ({len(block.ids)}) than statistics.json says "
                f"({expected.windows}): start a new run"
            )
        if self._kept is not None:
            self._kept[index] = block
        return block

    def _chunk(self, number: int) -> ChunkGrid:
        with self._lock:
            if number in self._chunks:
                self._chunks.move_to_end(number)
                return self._chunks[number]
        pinned = self._plan.objects[number]
        file = self._reader.open(number, content_of(self._store, pinned))
        columns = self._reader.columns(number, file)
        chunk = self._grid.chunk(columns, object_steps(pinned, self._statistics.cadence_seconds))
        with self._lock:
            self._chunks[number] = chunk
            while len(self._chunks) > self._most_chunks:
                self._chunks.popitem(last=False)
        return chunk
