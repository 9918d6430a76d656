"""Blocks from the store: read by one thread ahead of need, a bounded number at a time.

A block that is taken belongs to the taker; what stays beside it (`kept.py`) is bounded by
bytes. What is read is checked: an object that changed, or a block that enumerates other windows
than the statistics say, is refused by name.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import structlog

from argus_contract.plan import BlockStatistics, Plan, Statistics
from argus_trainer.data.chunk_reader import ChunkReader
from argus_trainer.data.fetch import CHECK_SECONDS, Content, Fetcher
from argus_trainer.data.grid import Block, ChunkGrid, Grid
from argus_trainer.data.kept import KeptBlocks, KeptChunks
from argus_trainer.data.windows import Span, mask_digest, object_steps
from argus_trainer.errors import DataError

_log = structlog.get_logger(__name__)


class BlockReader:
    """Makes the blocks of one part (training or validation) of a run."""

    def __init__(
        self,
        fetcher: Fetcher,
        plan: Plan,
        statistics: Statistics,
        chunks: ChunkReader,
        grid: Grid,
        spans: Sequence[Span],
        expected: Sequence[BlockStatistics],
        *,
        kept_blocks: KeptBlocks,
        kept_chunks: KeptChunks,
    ) -> None:
        """What is kept may be shared with a reader of another part."""
        if len(spans) != len(expected):
            raise DataError(
                f"statistics.json has {len(expected)} blocks and the plan {len(spans)}: "
                "they are of different runs; start a new run"
            )
        self._fetcher, self._plan, self._grid = fetcher, plan, grid
        self._statistics, self._reader = statistics, chunks
        self._spans, self._expected = spans, expected
        self._kept_blocks, self._kept_chunks = kept_blocks, kept_chunks

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
        left = threading.Event()

        def go_on() -> None:
            # Nobody waits for these blocks any more: what they wait for may never come.
            if left.is_set():
                raise CancelledError

        todo = iter(blocks)
        made: list[Future[Block]] = []

        def take() -> Block:
            while len(made) <= num_ahead:
                block = next(todo, None)
                if block is None:
                    break
                made.append(pool.submit(self._block, block, go_on))
            first = made.pop(0)
            while not wait([first], timeout=CHECK_SECONDS).done:
                check()
            return first.result()

        try:
            yield take
        finally:
            left.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _block(self, index: int, go_on: Callable[[], None]) -> Block:
        span = self._spans[index]
        kept = self._kept_blocks.get(span)
        if kept:
            return kept
        with closing(self._chunks(span.objects, go_on)) as chunks:
            block = self._grid.block(span, chunks)
        block = self._as_planned(index, block)
        self._kept_blocks.add(block)
        return block

    def _as_planned(self, index: int, block: Block) -> Block:
        """Returns the block with as many windows as the order of the run counts on.

        After an object changed (`data.onChange: Repin`) those that the block has fill all its
        places, in their order, each about equally often.
        """
        expected, windows = self._expected[index], len(block.positions)
        if windows == expected.windows and mask_digest(block.ids()) == expected.mask_digest:
            return block
        first_key = self._plan.objects[self._spans[index].objects[0]].key
        name = f"{self._plan.data_uri}: the block from {first_key}"
        if self._fetcher.inexact_reason is None:
            raise DataError(
                f"{name} has other windows ({windows}) than statistics.json says "
                f"({expected.windows}): start a new run"
            )
        if not windows and expected.windows:
            raise DataError(
                f"{name} has not one of its {expected.windows} windows left since "
                f"{self._fetcher.inexact_reason}: start a new run"
            )
        _log.warning(
            "a block has other windows than planned",
            block=first_key,
            windows=windows,
            planned=expected.windows,
        )
        place = np.arange(expected.windows) * windows // max(expected.windows, 1)
        return replace(block, positions=block.positions[place])

    def _chunks(
        self, numbers: Iterable[int], go_on: Callable[[], None]
    ) -> Generator[ChunkGrid, None, None]:
        """Yields chunks in order; those that are not at hand are fetched together."""
        missing = [number for number in numbers if not self._kept_chunks.get(number)]
        objects = (self._plan.objects[number] for number in missing)
        with closing(self._fetcher.ordered(objects, check=go_on)) as fetched:
            for number in numbers:
                if number in missing:
                    yield self._decoded(number, next(fetched)[1])
                else:
                    # Those that came since may have taken its place.
                    yield self._kept_chunks.get(number) or self._decoded(
                        number, self._fetcher.fetch(self._plan.objects[number])
                    )

    def _decoded(self, number: int, content: Content) -> ChunkGrid:
        steps = object_steps(self._plan.objects[number], self._statistics.cadence_seconds)
        columns = self._reader.columns(number, self._reader.open(number, content))
        chunk = self._grid.chunk(columns, steps)
        self._kept_chunks.add(number, chunk)
        return chunk
