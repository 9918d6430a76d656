"""Data whose reading is a sign of life: while a run plans, there is no step to count."""

from collections.abc import Callable

from argus_trainer.storage.store import ObjectInfo, ReadOnly, Source


class Heard:
    """A source that calls `beat` each time it has given something."""

    def __init__(self, source: Source, beat: Callable[[], None]) -> None:
        self._source, self._beat = source, beat

    @property
    def uri(self) -> str:
        return self._source.uri

    def list_objects(self, prefix: str = "") -> list[ObjectInfo]:
        found = self._source.list_objects(prefix)
        self._beat()
        return found

    def get(self, key: str, *, etag: str | None = None) -> ReadOnly:
        content = self._source.get(key, etag=etag)
        self._beat()
        return content

    def get_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        content = self._source.get_range(key, start, end, etag=etag)
        self._beat()
        return content
