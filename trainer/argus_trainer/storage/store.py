"""What the other rooms may ask of a store."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One object of a listing."""

    key: str
    """Key relative to the store's uri."""
    size: int
    """Bytes."""
    etag: str
    """Changes whenever the content does."""


class Store(Protocol):
    """Objects under one prefix.

    Every method may raise StorageUnavailable (after its own retries) and StorageDenied.
    """

    @property
    def uri(self) -> str:
        """Address of the prefix, without a trailing slash."""
        ...

    def list_objects(self, prefix: str = "") -> list[ObjectInfo]:
        """Returns the objects whose key starts with `prefix`, sorted by key; deep."""
        ...

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        """Returns a whole object.

        Raises ObjectNotFound; ChangedError when `etag` is given and the object is another one now.
        """
        ...

    def put_new(self, key: str, data: bytes) -> None:
        """Writes an object that must not exist yet (If-None-Match: *).

        A lost reply is settled by reading back: our own bytes are success.
        Raises ObjectExists.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Overwrites an object. For `CURRENT` alone."""
        ...

    def delete(self, keys: list[str]) -> None:
        """Deletes objects; one that is gone already is no error."""
        ...
