"""A large object as a file: each read is one request for a range, nothing is kept.

For an object that must not be held whole: Parquet in it is read row group by row group with
`pq.ParquetFile(pa.PythonFile(file, mode="r"))`. Each column of a row group is then a request, so
this is for large objects only; small ones come whole from the `Fetcher`.
"""

import io

from argus_contract.plan import PinnedObject
from argus_trainer.storage.store import ObjectInfo, Source


class RemoteFile(io.RawIOBase):
    """Reads a pinned object on demand. One user at a time.

    Every read checks the ETag: raises DataError naming the object when it changed, and what the
    source raises.
    """

    def __init__(self, source: Source, pinned: PinnedObject | ObjectInfo) -> None:
        super().__init__()
        self._source, self._pinned = source, pinned
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._pinned.size}
        self._position = max(0, base[whence] + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Returns `size` bytes, fewer only at the end of the object."""
        left = max(0, self._pinned.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        data = self._source.get_range(
            self._pinned.key, self._position, self._position + wanted, etag=self._pinned.etag
        )
        self._position += wanted
        return data
