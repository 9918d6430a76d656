"""What stays in memory because it is needed again: never more bytes than were given.

Every epoch needs every block once, in another order, so no block is worth more than another:
the first ones that fit stay, and none of them is ever dropped. A decoded chunk is needed again
soon, by the block after the one that it was read for, or not before the next epoch: the newest
ones stay.
"""

import threading
from collections import OrderedDict

from argus_trainer.data.grid import Block, ChunkGrid
from argus_trainer.data.windows import Span


class KeptBlocks:
    """The first blocks that were made, as many as fit. Any thread may use it."""

    def __init__(self, max_bytes: int | None) -> None:
        """None: all of them."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._blocks: dict[Span, Block] = {}
        self._lock = threading.Lock()

    def get(self, span: Span) -> Block | None:
        with self._lock:
            return self._blocks.get(span)

    def add(self, block: Block) -> None:
        """Keeps a block that is not kept yet, if it fits."""
        with self._lock:
            if block.span in self._blocks:
                return
            total = self._bytes + block.num_bytes
            if self._max_bytes is None or total <= self._max_bytes:
                self._blocks[block.span] = block
                self._bytes = total


class KeptChunks:
    """The newest decoded chunks, by their object's number. Any thread may use it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._chunks: OrderedDict[int, ChunkGrid] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int) -> ChunkGrid | None:
        with self._lock:
            chunk = self._chunks.get(number)
            if chunk:
                self._chunks.move_to_end(number)
            return chunk

    def add(self, number: int, chunk: ChunkGrid) -> None:
        """Keeps a chunk that is not kept yet, in place of the oldest ones."""
        with self._lock:
            if number in self._chunks:
                return
            self._chunks[number] = chunk
            self._bytes += chunk.num_bytes
            while self._bytes > self._max_bytes:
                _, oldest = self._chunks.popitem(last=False)
                self._bytes -= oldest.num_bytes
