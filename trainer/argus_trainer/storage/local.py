"""A store in a local folder, with the promises of an object store.

`put_new` writes a hidden temporary file and links it to its name: the link exists whole or
not at all, and the file system lets one linker win. Price: an ETag is made of size and time
of change, so a file that was copied counts as another one.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from argus_trainer.errors import (
    ConfigurationError,
    ObjectExists,
    ObjectNotFound,
    StorageDenied,
    StorageError,
    StorageUnavailable,
)
from argus_trainer.storage.store import ObjectInfo, changed, whole_range

_NEVER = frozenset({errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EROFS})
"""Errors of a place that cannot hold objects, however long one waits."""
_TEMPORARY = ".argus-writing-"
"""Prefix of files that are not objects yet."""


class LocalStore:
    """Objects under a folder, which need not exist before the first write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def uri(self) -> str:
        return str(self._folder)

    def list_objects(self, prefix: str = "") -> list[ObjectInfo]:
        # Only the folder that the prefix names in full has to be walked.
        start = self._path(prefix.rpartition("/")[0]) if "/" in prefix else self._folder
        with _judged(f"list {self._folder}/{prefix}", reading=True):
            return sorted(
                (entry for entry in self._walk(start) if entry.key.startswith(prefix)),
                key=lambda entry: entry.key,
            )

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        with self._opened(key, etag) as file:
            return file.read()

    def get_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        with self._opened(key, etag) as file:
            file.seek(start)
            return whole_range(file.read(end - start), file.name, start, end)

    def put_new(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _judged(f"put_new {path}"), _written(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                if path.read_bytes() != data:
                    raise ObjectExists(f"storage: another writer was first: {path}") from None

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _judged(f"put {path}"), _written(path, data) as temporary:
            temporary.replace(path)

    def delete(self, keys: list[str]) -> None:
        for key in keys:
            path = self._path(key)
            with _judged(f"delete {path}"):
                path.unlink(missing_ok=True)

    @contextmanager
    def _opened(self, key: str, etag: str | None) -> Iterator[BinaryIO]:
        path = self._path(key)
        with _judged(f"get {path}", reading=True), path.open("rb") as file:
            found = _etag(os.fstat(file.fileno()))
            if etag is not None and found != etag:
                raise changed(str(path), found=found, was=etag)
            yield file

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key)
        if parts.is_absolute() or ".." in parts.parts:
            raise StorageError(f"storage: key {key!r} leads out of {self._folder}")
        return self._folder / parts

    def _walk(self, start: Path) -> Iterator[ObjectInfo]:
        for folder, _, names in os.walk(start):
            for name in names:
                path = Path(folder, name)
                if name.startswith(_TEMPORARY):
                    continue
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue  # deleted since the folder was read
                yield ObjectInfo(
                    key=path.relative_to(self._folder).as_posix(),
                    size=stat.st_size,
                    etag=_etag(stat),
                )


def _etag(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """Gives a durable temporary file beside `path`; removes it and syncs the folder after."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _judged(what: str, *, reading: bool = False) -> Iterator[None]:
    """Turns errors of the operating system into those of a store."""
    try:
        yield
    except FileNotFoundError as error:
        if not reading:
            raise ConfigurationError(_no_place(what, error)) from error
        raise ObjectNotFound(f"storage: there is no such object: {what}") from error
    except PermissionError as error:
        raise StorageDenied(
            f"storage: access denied: {what}: {error}; check the owner of the folder"
        ) from error
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno in _NEVER:
            raise ConfigurationError(_no_place(what, error)) from error
        raise StorageUnavailable(
            f"storage: {what}: {error}; check the disk and the folder"
        ) from error


def _no_place(what: str, error: OSError) -> str:
    # The file that is in the way, or the folder that cannot be made: not always the object's.
    return f"storage: {what}: {error.strerror}: {error.filename}: name another folder"
