"""Reads from stores that are neither a folder nor S3: by an address that a library knows.

Google's and Azure's stores (`gs://`, `az://`, `abfs://`) are read by obstore, which finds keys as
their own tools do (workload identity, files, variables). Any other address goes to fsspec, whose
file systems are as good as their plug-ins. Errors are judged more coarsely than those of S3:
absent, refused, or worth another try.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import fsspec
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from argus_contract.launch import LaunchStorage
from argus_trainer.errors import (
    ConfigurationError,
    ObjectNotFound,
    StorageDenied,
    StorageError,
)
from argus_trainer.storage.daemons import Daemons
from argus_trainer.storage.first_contact import lost_cause
from argus_trainer.storage.patience import Patience, first_line, never
from argus_trainer.storage.store import ObjectInfo, ReadOnly, changed, whole_range

T = TypeVar("T")

NUM_CONNECTIONS = 32
READ_SECONDS = 30
REQUEST_SECONDS = 3600
OBSTORE_SCHEMES = frozenset({"gs", "gcs", "az", "azure", "abfs", "abfss", "adl"})

_DENIED = (PermissionError, PermissionDeniedError, UnauthenticatedError)
_REFUSED = (TypeError, ValueError, NotImplementedError, AttributeError, ImportError)
"""What a file system raises that cannot do what it is asked."""
_STATUS = re.compile(r"status code: (\d{3})")
_ETAG_FIELDS = ("ETag", "etag", "e_tag", "md5Hash", "generation", "content_md5")
_TIME_FIELDS = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class _Client(Protocol):
    """One library. Raises FileNotFoundError, or whatever else it likes."""

    def listed(self) -> Iterable[ObjectInfo]: ...

    def read(self, key: str) -> tuple[ReadOnly, str]:
        """Returns an object and its ETag."""
        ...

    def read_range(self, key: str, start: int, end: int) -> tuple[bytes, str]: ...


class ForeignSource:
    """Objects under an address, for reading. Safe to use from several threads."""

    def __init__(
        self, uri: str, options: LaunchStorage, *, stopping: Callable[[], bool] = never
    ) -> None:
        self._uri = uri.rstrip("/")
        self._options, self._stopping = options, stopping
        self._client = _client(self._uri, options)
        self._requests = Daemons(NUM_CONNECTIONS, "argus-storage")
        self._has_answered = False

    @property
    def uri(self) -> str:
        return self._uri

    def list_objects(self, prefix: str = "") -> list[ObjectInfo]:
        try:
            listed = self._answer("list", prefix, lambda: [*self._client.listed()])
        except ObjectNotFound:
            return []  # as an object store answers for a prefix without objects
        found = (entry for entry in listed if entry.key.startswith(prefix))
        return sorted(found, key=lambda entry: entry.key)

    def get(self, key: str, *, etag: str | None = None) -> ReadOnly:
        content, found = self._answer("get", key, partial(self._client.read, key))
        if etag is not None and found != etag:
            raise changed(f"{self._uri}/{key}", found=found, was=etag)
        return content

    def get_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        read = partial(self._client.read_range, key, start, end)
        content, found = self._answer("get", key, read)
        if etag is not None and found != etag:
            raise changed(f"{self._uri}/{key}", found=found, was=etag)
        return whole_range(content, f"{self._uri}/{key}", start, end)

    def _answer(self, operation: str, key: str, call: Callable[[], T]) -> T:
        what = f"{operation} {self._uri}/{key}"
        patience = Patience(
            what,
            tolerance_seconds=self._options.outage_tolerance_seconds,
            stopping=self._stopping,
        )
        while True:
            try:
                reply = patience.result(self._requests.submit(call))
            except FileNotFoundError as error:
                self._has_answered = True
                raise ObjectNotFound(f"storage: there is no such object: {what}") from error
            except _DENIED as error:
                raise _denied(what, error) from error
            except _REFUSED as error:
                raise StorageError(f"storage: refused: {what}: {first_line(error)}") from error
            except (BaseError, OSError) as error:
                if _status(error) in (401, 403):
                    raise _denied(what, error) from error
                lost = None if self._has_answered else lost_cause(error, self._uri)
                if lost and patience.is_first_contact_over:
                    raise lost from error
                patience.pause(lost or error)
            else:
                self._has_answered = True
                return reply


class _Obstore:
    def __init__(self, uri: str, options: LaunchStorage) -> None:
        certificates = Path(options.ca_bundle).read_bytes() if options.ca_bundle else None
        self._uri = uri
        self._store = from_url(
            uri,
            client_options={
                "allow_http": True,
                "read_timeout": timedelta(seconds=READ_SECONDS),
                "timeout": timedelta(seconds=REQUEST_SECONDS),
                **({"root_certificate": certificates} if certificates else {}),
            },
            retry_config={"max_retries": 0},
        )

    def listed(self) -> Iterable[ObjectInfo]:
        try:
            for page in self._store.list():
                for entry in page:
                    yield ObjectInfo(key=entry["path"], size=entry["size"], etag=_known(entry))
        except BaseError as error:
            # An empty prefix is an empty listing: it is the bucket that is absent.
            if _status(error) != 404:
                raise
            raise ConfigurationError(
                f"storage: there is no bucket or container of {self._uri}: create it, or correct "
                "the address"
            ) from error

    def read(self, key: str) -> tuple[ReadOnly, str]:
        reply = self._store.get(key)
        content = memoryview(reply.bytes())
        if len(content) != reply.meta["size"]:
            raise OSError(f"{len(content)} bytes came of {reply.meta['size']}")
        return content, _known(reply.meta)

    def read_range(self, key: str, start: int, end: int) -> tuple[bytes, str]:
        try:
            reply = self._store.get(key, options={"range": (start, end)})
        except BaseError:
            # A range that begins after the end is an error like any other.
            meta = self._store.head(key)
            if start >= meta["size"]:
                return b"", _known(meta)
            raise
        return bytes(reply.bytes()), _known(reply.meta)


class _Fsspec:
    def __init__(self, uri: str) -> None:
        self._filesystem, root = fsspec.core.url_to_fs(uri, use_listings_cache=False)
        self._root = root.rstrip("/")

    def listed(self) -> Iterable[ObjectInfo]:
        self._filesystem.invalidate_cache()
        for path, info in self._filesystem.find(self._root, detail=True).items():
            key = path.removeprefix(self._root).lstrip("/")
            yield ObjectInfo(key=key, size=info["size"], etag=_known(info))

    def read(self, key: str) -> tuple[ReadOnly, str]:
        content: bytes = self._filesystem.cat_file(f"{self._root}/{key}")
        return content, self._etag(key)

    def read_range(self, key: str, start: int, end: int) -> tuple[bytes, str]:
        content: bytes = self._filesystem.cat_file(f"{self._root}/{key}", start=start, end=end)
        return content, self._etag(key)

    def _etag(self, key: str) -> str:
        # After the read: what is there before it may be another object already.
        return _known(self._filesystem.info(f"{self._root}/{key}"))


def _client(uri: str, options: LaunchStorage) -> _Client:
    scheme = uri.partition("://")[0]
    try:
        return _Obstore(uri, options) if scheme in OBSTORE_SCHEMES else _Fsspec(uri)
    except (BaseError, *_REFUSED) as error:
        raise ConfigurationError(
            f"storage: {uri!r} cannot be opened: {first_line(error)}; use s3://, gs://, az://, "
            "abfs://, a folder, or install the fsspec file system of this address"
        ) from error


def _denied(what: str, error: Exception) -> StorageDenied:
    return StorageDenied(
        f"storage: access denied: {what}: {first_line(error)}; check the keys or the service "
        "account (storage.serviceAccountName) and what they may do"
    )


def _status(error: Exception) -> int | None:
    """Returns the HTTP status of a listing's answer, which obstore tells in text alone."""
    found = _STATUS.search(str(error)) if isinstance(error, BaseError) else None
    return int(found[1]) if found else None


def _known(info: Mapping[str, Any]) -> str:
    """Returns what tells versions of an object apart: its ETag, or else its size and times."""
    for name in _ETAG_FIELDS:
        if info.get(name):
            return str(info[name]).removeprefix("W/").strip('"')
    times = [_told(info[name]) for name in _TIME_FIELDS if info.get(name) is not None]
    return hashlib.sha256(" ".join([str(info["size"]), *times]).encode()).hexdigest()[:32]


def _told(time: object) -> str:
    """Returns a time as text; a listing may give seconds where a look gives a datetime."""
    if isinstance(time, datetime):
        time = time.timestamp()
    return f"{time:.6f}" if isinstance(time, float) else str(time)
