"""What the other rooms may ask of a store."""

from dataclasses import dataclass
from typing import Protocol

from argus_trainer.errors import ConfigurationError, DataError, ObjectChanged

ReadOnly = bytes | memoryview
"""Bytes of one dimension; a view saves a copy of what another library holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """One object of a listing."""

    key: str
    """Key relative to the store's uri."""
    size: int
    """Bytes."""
    etag: str
    """Changes whenever the content does."""


class Source(Protocol):
    """Objects under one prefix that are only read.

    Safe to use from several threads. Every method may raise StorageUnavailable (after its own
    retries), StorageDenied, and Preempted when its wait is ended from outside.
    """

    @property
    def uri(self) -> str:
        """Address of the prefix, without a trailing slash."""
        ...

    def list_objects(self, prefix: str = "") -> list[ObjectInfo]:
        """Returns the objects whose key starts with `prefix`, sorted by key; deep."""
        ...

    def get(self, key: str, *, etag: str | None = None) -> ReadOnly:
        """Returns a whole object.

        Raises ObjectNotFound; ObjectChanged when `etag` is given and the object is another one now.
        """
        ...

    def get_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        """Returns the bytes [start, end) of an object: all of them.

        Raises what `get` raises, and DataError when the object ends before `end`.
        """
        ...


class Store(Source, Protocol):
    """Objects under one prefix that are also written."""

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        """Returns a whole object, as `Source.get` does."""
        ...

    def put_new(self, key: str, data: bytes) -> None:
        """Writes an object that must not exist yet (If-None-Match: *).

        A lost reply is settled by reading back: our own bytes are success. A store without that
        condition (`storage.singleWriter`) is asked first, which is safe for one writer.
        Raises ObjectExists.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Overwrites an object. For what only people read: `CURRENT`, a claim's log and curves."""
        ...

    def delete(self, keys: list[str]) -> None:
        """Deletes objects; one that is gone already is no error."""
        ...


def unconditional(uri: str, what_it_does: str) -> ConfigurationError:
    """Returns the error for a store whose PUT has no working If-None-Match."""
    return ConfigurationError(
        f"storage: {uri} {what_it_does}: two trainers could destroy each other's states; use a "
        "store with conditional writes (S3, GCS, Azure, MinIO, SeaweedFS, R2), or promise with "
        "storage.singleWriter true that there will never be two"
    )


def changed(address: str, *, found: object, was: object, what: str = "ETag") -> ObjectChanged:
    """Returns the error for a pinned object that is another one now."""
    return ObjectChanged(
        f"{address} changed under the run: its {what} is {found} and was {was} when the run was "
        "planned; restore it, or start a new run with another runToken, and with data.onChange "
        "Repin if its writer goes on"
    )


def too_short(address: str, wanted: str) -> DataError:
    """Returns the error for an object that ends before the bytes that are `wanted`."""
    return DataError(
        f"{address} is shorter than it was: {wanted} are not there; restore it, or start a new "
        "run with another runToken"
    )


def whole_range(data: bytes, address: str, start: int, end: int) -> bytes:
    """Returns `data` when it is all of [start, end). Raises DataError."""
    if len(data) != end - start:
        raise too_short(address, f"bytes {start}-{end - 1}")
    return data
