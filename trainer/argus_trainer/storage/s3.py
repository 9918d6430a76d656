"""A store on S3 or a server that speaks its protocol; the only importer of s3fs.

Many objects are read faster by `S3Source`, which leaves to this store whatever goes wrong.

s3fs holds the session and the event loop; requests go through its client and never through
its directory cache or its own retries, so that a listing is always the truth, a failure is
judged once (`faults.py`) and a waiting call can be stopped. An object travels in one request
in each direction: whole or not at all. Price: an object must fit in memory and in one PUT
(5 GB).
"""

import asyncio
import base64
import functools
import hashlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import aiobotocore.session
import aiohttp
import s3fs
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from argus_contract.launch import LaunchStorage
from argus_trainer.errors import (
    ConfigurationError,
    ObjectExists,
    ObjectNotFound,
    StorageDenied,
    StorageError,
)
from argus_trainer.storage.credentials import (
    ACCESS_KEY,
    SECRET_KEY,
    Credentials,
    read_credentials,
)
from argus_trainer.storage.faults import Fault, fault_of
from argus_trainer.storage.first_contact import lost_cause
from argus_trainer.storage.patience import Patience, never
from argus_trainer.storage.store import (
    ObjectInfo,
    changed,
    too_short,
    unconditional,
    whole_range,
)

T = TypeVar("T")
Client = Any
"""aiobotocore's S3 client; it comes without types."""

SCHEME = "s3://"
CONNECT_SECONDS = 10
READ_SECONDS = 30
SLOWEST_BYTES_PER_SECOND = 500_000
"""A slower upload is taken for one that hangs, and begun again."""
NUM_CONNECTIONS = 32
NUM_DELETES_AT_ONCE = 8
PAGE_SIZE = 1000
"""Objects in one reply of a listing: S3's own limit."""

_FAILURES = (BotoCoreError, ClientError, ResponseParserError, aiohttp.ClientError, OSError)
"""All that a request may raise; a proxy's error page ends in the parser's error."""


class _NotImplementedThere(StorageError):
    """The server answered 501."""


class S3Store:
    """Objects under `s3://bucket/prefix`. Safe to use from several threads."""

    def __init__(
        self, uri: str, options: LaunchStorage, *, stopping: Callable[[], bool] = never
    ) -> None:
        self._uri = uri.rstrip("/")
        self._bucket, _, prefix = self._uri.removeprefix(SCHEME).partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._options = options
        self._stopping = stopping
        self._lock = threading.Lock()
        self._credentials = self._read_credentials()
        self._filesystem = self._connect()
        self._granted: set[str] = set()
        """Operations that were once allowed; a refusal of one of them is an outage."""

    @property
    def uri(self) -> str:
        return self._uri

    @property
    def bucket(self) -> str:
        return self._bucket

    @property
    def prefix(self) -> str:
        """What the keys of the bucket begin with: empty, or ending in a slash."""
        return self._prefix

    @property
    def region(self) -> str | None:
        """The region that was given, or else that of AWS's own variables and files."""
        return self._options.region or _session().get_config_variable("region")

    def keys_now(self) -> Credentials | None:
        """Returns the keys to sign with: of the folder, or as AWS's own chain finds them.

        The chain: variables, profiles, web identity, a container's or an instance's metadata.
        None when there are none, or when they cannot be asked for now.
        """
        if self._credentials is not None:
            return self._credentials
        try:
            found = asyncio.run_coroutine_threadsafe(_chain(), self._filesystem.loop)
            return found.result(timeout=CONNECT_SECONDS)
        except (*_FAILURES, TimeoutError):
            return None

    def list_objects(self, prefix: str = "") -> list[ObjectInfo]:
        return sorted(self._listed(prefix), key=lambda entry: entry.key)

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        return self._read(key, etag)

    def get_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        data = self._read(key, etag, Range=f"bytes={start}-{end - 1}")
        return whole_range(data, f"{self._uri}/{key}", start, end)

    def _read(self, key: str, etag: str | None, **options: str) -> bytes:
        async def call(client: Client) -> bytes:
            try:
                reply = await client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, **options
                )
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416:
                    raise too_short(
                        f"{self._uri}/{key}", options["Range"].replace("=", " ")
                    ) from error
                raise
            async with reply["Body"] as body:
                found = bare(reply["ETag"])
                if etag is not None and found != etag:
                    raise changed(f"{self._uri}/{key}", found=found, was=etag)
                data: bytes = await body.read()
            return data

        return self._request("get", key, call)

    def put_new(self, key: str, data: bytes) -> None:
        alone = self._options.single_writer
        if alone and self._is_there(key, data):
            return
        try:
            self._put("put_new", key, data, IfNoneMatch="*")
        except ObjectExists:
            # A reply that was lost, here or inside the HTTP client, makes the retry meet its
            # own object.
            if self.get(key) != data:
                raise
        except _NotImplementedThere as error:
            if not alone:
                raise unconditional(self._uri, "refuses If-None-Match on PUT") from error
            self._put("put_new", key, data)

    def _is_there(self, key: str, data: bytes) -> bool:
        """Whether `data` stands at `key`. Raises ObjectExists when something else does."""
        try:
            found = self.get(key)
        except ObjectNotFound:
            return False
        if found != data:
            raise ObjectExists(f"storage: another object is there: {self._uri}/{key}")
        return True

    def put(self, key: str, data: bytes) -> None:
        self._put("put", key, data)

    def delete(self, keys: list[str]) -> None:
        # One request per key: the bulk call is the one that S3-compatible servers disagree on.
        for first in range(0, len(keys), NUM_DELETES_AT_ONCE):
            part = keys[first : first + NUM_DELETES_AT_ONCE]

            async def call(client: Client, part: list[str] = part) -> None:
                await asyncio.gather(
                    *(
                        client.delete_object(Bucket=self._bucket, Key=self._prefix + key)
                        for key in part
                    )
                )

            try:
                self._request("delete", part[0], call)
            except ObjectNotFound:
                # Some servers answer 404; then the rest of the part is asked for one by one.
                if len(part) > 1:
                    for key in part:
                        self.delete([key])

    def _put(self, operation: str, key: str, data: bytes, **condition: str) -> None:
        # The server compares it with what arrived: a damaged upload is refused.
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()

        async def call(client: Client) -> None:
            put = client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=data,
                ContentMD5=digest,
                **condition,
            )
            # aiohttp's own timeout begins after the body, which waits for "100 Continue": a
            # peer that takes everything and says nothing would be waited for without an end.
            await asyncio.wait_for(put, READ_SECONDS + len(data) / SLOWEST_BYTES_PER_SECOND)

        self._request(operation, key, call)

    def _listed(self, prefix: str) -> Iterator[ObjectInfo]:
        token: dict[str, str] = {}
        while True:

            async def call(client: Client, token: dict[str, str] = token) -> dict[str, Any]:
                page: dict[str, Any] = await client.list_objects_v2(
                    Bucket=self._bucket,
                    Prefix=self._prefix + prefix,
                    MaxKeys=PAGE_SIZE,
                    **token,
                )
                return page

            page = self._request("list", prefix, call)
            for entry in page.get("Contents", []):
                # A key that ends in "/" is the mark of a folder that a console made.
                if not entry["Key"].endswith("/"):
                    yield ObjectInfo(
                        key=entry["Key"].removeprefix(self._prefix),
                        size=entry["Size"],
                        etag=bare(entry["ETag"]),
                    )
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _request(self, operation: str, key: str, call: Callable[[Client], Awaitable[T]]) -> T:
        """Returns the reply of `call`, after as many tries as the options allow."""
        what = f"{operation} {self._uri}/{key}"
        patience = Patience(
            what,
            tolerance_seconds=self._options.outage_tolerance_seconds,
            stopping=self._stopping,
        )
        while True:
            filesystem, credentials = self._filesystem, self._credentials
            try:
                result = patience.result(
                    asyncio.run_coroutine_threadsafe(_answered(filesystem, call), filesystem.loop)
                )
            except _FAILURES as error:
                fault = fault_of(error)
                if fault is Fault.DENIED and self._renewed(credentials):
                    continue
                if fault in (Fault.MISSING_OBJECT, Fault.EXISTS):
                    self._granted.add(operation)
                failure = self._final(fault, operation, what, error)
                if failure is not None:
                    raise failure from error
                where = self._options.endpoint or self._uri
                lost = None if self._granted else lost_cause(error, where)
                if lost and patience.is_first_contact_over:
                    raise lost from error
                patience.pause(lost or error)
            else:
                self._granted.add(operation)
                return result

    def _final(
        self, fault: Fault, operation: str, what: str, error: Exception
    ) -> StorageError | ConfigurationError | None:
        """Returns the error that ends the call, or None when it is worth another try."""
        if fault is Fault.MISSING_OBJECT:
            return ObjectNotFound(f"storage: there is no such object: {what}")
        if fault is Fault.EXISTS:
            return ObjectExists(f"storage: another writer was first: {what}")
        if fault is Fault.NOT_IMPLEMENTED:
            return _NotImplementedThere(f"storage: the server cannot: {what}: {error}")
        if fault is Fault.REFUSED:
            return StorageError(f"storage: refused: {what}: {error}")
        if fault is Fault.NO_CREDENTIALS:
            return StorageDenied(
                f"storage: no access keys for {what}: name a Secret in storage.secretRef, a "
                "service account in storage.serviceAccountName, or set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
        if fault is Fault.DENIED and operation not in self._granted:
            return StorageDenied(
                f"storage: access denied: {what}: {error}; check {ACCESS_KEY} and {SECRET_KEY} "
                f"(in a cluster: the Secret of storage.secretRef) and what they may do in bucket "
                f"{self._bucket}"
            )
        # Once it was trusted it is the server that is being changed, and that passes.
        if fault is Fault.UNTRUSTED and not self._granted:
            return ConfigurationError(
                f"storage: {self._options.endpoint or 'AWS'} shows a certificate that is not "
                f"trusted: {what}: {error}; name the ConfigMap with the certificates of its "
                "authority in storage.caBundleRef (on a command line: AWS_CA_BUNDLE)"
            )
        if fault is Fault.MISSING_BUCKET and not self._granted:
            return ConfigurationError(
                f"storage: bucket {self._bucket} of {self._uri} does not exist at "
                f"{self._options.endpoint or 'AWS'}: create it, or correct the address"
            )
        return None

    def _renewed(self, used: Credentials | None) -> bool:
        """Reads the keys again; returns whether there are other ones than `used` now."""
        with self._lock:
            if self._credentials == used:
                self._credentials = self._read_credentials()
                if self._credentials != used:
                    self._filesystem = self._connect()
            return self._credentials != used

    def _read_credentials(self) -> Credentials | None:
        directory = self._options.credentials_directory
        return read_credentials(Path(directory)) if directory else None

    def _connect(self) -> s3fs.S3FileSystem:
        keys = self._credentials
        style = "path" if self._options.path_style else "auto"
        return s3fs.S3FileSystem(
            key=keys and keys.access_key,
            secret=keys and keys.secret_key,
            token=keys and keys.session_token,
            endpoint_url=self._options.endpoint,
            client_kwargs={
                name: value
                for name, value in (
                    ("region_name", self._options.region),
                    ("verify", self._options.ca_bundle),
                )
                if value
            },
            config_kwargs={
                "s3": {"addressing_style": style},
                "retries": {"max_attempts": 0},
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                "max_pool_connections": NUM_CONNECTIONS,
                # Checksums in trailers are AWS's alone; uploads carry a Content-MD5.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
            session=_session(),
            use_listings_cache=False,
            skip_instance_cache=True,
        )


@functools.cache
def _session() -> Any:
    """The session that all stores share: parsing S3's description costs 0.3 s each time."""
    return aiobotocore.session.AioSession()


async def _chain() -> Credentials | None:
    found = await _session().get_credentials()
    keys = found and await found.get_frozen_credentials()
    return keys and Credentials(
        access_key=keys.access_key, secret_key=keys.secret_key, session_token=keys.token
    )


async def _answered(filesystem: s3fs.S3FileSystem, call: Callable[[Client], Awaitable[T]]) -> T:
    await filesystem.set_session()
    return await call(await filesystem.get_s3())


def bare(etag: str) -> str:
    """Returns an ETag without its quotes and without the mark of a weak one."""
    return etag.removeprefix("W/").strip('"')
