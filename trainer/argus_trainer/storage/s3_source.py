"""Many reads from S3 through obstore, whose requests cost a fifth of the processor time.

The fast client makes one try and judges nothing: whatever goes wrong, the same read is asked of
`S3Store`, which knows what an error means, waits out an outage, reads rotated keys again and
stops when it should. So there is one judge, and the worst of an odd server is that reads are as
slow as its own. Listings are the judge's too.

A body is checked by its length. Its MD5 is not, where the ETag is one: that makes a read cost
three times the processor time, and Argus's chunks carry checksums of their pages.
"""

import ipaddress
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store as FastStore

from argus_contract.launch import LaunchStorage
from argus_trainer.storage.credentials import Credentials
from argus_trainer.storage.daemons import Daemons, is_daemon
from argus_trainer.storage.patience import Patience, never
from argus_trainer.storage.s3 import CONNECT_SECONDS, NUM_CONNECTIONS, READ_SECONDS, S3Store, bare
from argus_trainer.storage.store import ObjectInfo, ReadOnly, changed, whole_range

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3CredentialProvider

AWS_REGION = "us-east-1"
"""What a server is asked for that has no regions; S3's own default."""
REQUEST_SECONDS = 3600
"""Longest transfer of one object; a stalled one ends after READ_SECONDS."""
KEYS_SECONDS = 60
"""How long keys of AWS's chain are used before it is asked again; it renews them itself."""

_FAILURES = (BaseError, OSError, ValueError)
"""All that the fast client may raise; ValueError for a key that it cannot name."""

_log = structlog.get_logger(__name__)


class S3Source:
    """Objects under `s3://bucket/prefix` for reading. Safe to use from several threads."""

    def __init__(
        self, uri: str, options: LaunchStorage, *, stopping: Callable[[], bool] = never
    ) -> None:
        self._judge = S3Store(uri, options, stopping=stopping)
        self._options, self._stopping = options, stopping
        self._requests = Daemons(NUM_CONNECTIONS, "argus-s3")
        self._lock = threading.Lock()
        self._fast: FastStore | None = None
        self._keys: Credentials | None = None
        self._keys_asked = -float(KEYS_SECONDS)
        self._has_warned = False

    @property
    def uri(self) -> str:
        return self._judge.uri

    def list_objects(self, prefix: str = "") -> list[ObjectInfo]:
        return self._judge.list_objects(prefix)

    def get(self, key: str, *, etag: str | None = None) -> ReadOnly:
        reply = self._tried(partial(self._whole, key), key)
        if reply is None:
            return self._judge.get(key, etag=etag)
        content, found = reply
        self._check_etag(key, found, etag)
        return content

    def get_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        reply = self._tried(partial(self._part, key, start, end), key)
        if reply is None:
            return self._judge.get_range(key, start, end, etag=etag)
        content, found = reply
        self._check_etag(key, found, etag)
        return whole_range(bytes(content), f"{self.uri}/{key}", start, end)

    def _check_etag(self, key: str, found: str, etag: str | None) -> None:
        if etag is not None and found != etag:
            raise changed(f"{self.uri}/{key}", found=found, was=etag)

    def _tried(
        self, read: Callable[[FastStore], tuple[memoryview, str]], key: str
    ) -> tuple[memoryview, str] | None:
        """Returns the reply of the fast client, or None when the judge must be asked."""
        fast = self._connected()
        if fast is None:
            return None
        try:
            if is_daemon():
                return read(fast)
            patience = Patience(
                f"get {self.uri}/{key}", tolerance_seconds=0, stopping=self._stopping
            )
            return patience.result(self._requests.submit(partial(read, fast)))
        except _FAILURES as error:
            if not self._has_warned:
                self._has_warned = True
                _log.warning("a fast read failed; the slower client is asked", error=str(error))
            return None

    def _whole(self, key: str, fast: FastStore) -> tuple[memoryview, str]:
        reply = fast.get(self._judge.prefix + key)
        content = memoryview(reply.bytes())
        if len(content) != reply.meta["size"]:
            raise OSError(f"{len(content)} bytes came of {reply.meta['size']}")
        return content, bare(reply.meta["e_tag"] or "")

    def _part(self, key: str, start: int, end: int, fast: FastStore) -> tuple[memoryview, str]:
        reply = fast.get(self._judge.prefix + key, options={"range": (start, end)})
        return memoryview(reply.bytes()), bare(reply.meta["e_tag"] or "")

    def _connected(self) -> FastStore | None:
        """Returns a client that signs with the keys of now; None without keys."""
        with self._lock:
            now = time.monotonic()
            if self._options.credentials_directory or now - self._keys_asked >= KEYS_SECONDS:
                self._keys_asked = now
                keys = self._judge.keys_now()
                if keys != self._keys:
                    self._keys = keys
                    self._fast = self._connect(keys) if keys else None
            return self._fast

    def _connect(self, keys: Credentials) -> FastStore:
        by_host = not self._options.path_style and "." not in self._judge.bucket
        endpoint = self._options.endpoint
        if endpoint and by_host:
            parts = urlsplit(endpoint)
            by_host = not _is_ip(parts.hostname or "")
            if by_host:
                endpoint = parts._replace(netloc=f"{self._judge.bucket}.{parts.netloc}").geturl()
        return FastStore(
            self._judge.bucket,
            config={
                "region": self._judge.region or AWS_REGION,
                "virtual_hosted_style_request": by_host,
                # Both names, or a variable of the environment would win.
                **({"endpoint": endpoint, "aws_endpoint_url_s3": endpoint} if endpoint else {}),
            },
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "read_timeout": timedelta(seconds=READ_SECONDS),
                "timeout": timedelta(seconds=REQUEST_SECONDS),
                **(
                    {"root_certificate": Path(self._options.ca_bundle).read_bytes()}
                    if self._options.ca_bundle
                    else {}
                ),
            },
            retry_config={"max_retries": 0},
            # Not as options: a session token of the environment would be mixed in.
            credential_provider=_signer(keys),
        )


def _signer(keys: Credentials) -> "S3CredentialProvider":
    def sign() -> "S3Credential":
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.session_token,
            "expires_at": None,
        }

    return sign


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
