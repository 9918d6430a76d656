"""What a store on S3 does when the server, the network or the keys fail it.

A gate stands between the store and a real server: it passes bytes on, and can drop a reply,
answer in the server's place, or close its door.
"""

import functools
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import aiobotocore.session
import pytest

from argus_trainer.errors import (
    ConfigurationError,
    ObjectExists,
    Preempted,
    StorageDenied,
    StorageUnavailable,
)
from argus_trainer.storage.open import open_source, open_store
from argus_trainer.storage.store import Source


class Gate(socketserver.ThreadingTCPServer):
    """Passes one request per connection; `script` says what happens to the next ones."""

    daemon_threads = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.upstream = upstream
        self.script: list[str] = []
        """"drop": do it, lose the reply; "503", "501", "403": answer so; "hang": never answer;
        "short": lose the end of the reply."""
        self.requests: list[bytes] = []
        self.revoked: bytes | None = None
        """An access key that is answered with 403."""
        self.num_requests = 0
        self.closed = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passage(socketserver.BaseRequestHandler):
    server: Gate

    def handle(self) -> None:
        request = self._read_request()
        if not request:
            return
        self.server.num_requests += 1
        self.server.requests.append(request)
        act = self.server.script.pop(0) if self.server.script else "pass"
        if self.server.revoked and self.server.revoked in request:
            act = "403"
        if act == "hang":
            self.server.closed.wait()
        elif act in ("403", "501", "503"):
            self.request.sendall(f"HTTP/1.1 {act} No\r\nContent-Length: 0\r\n\r\n".encode())
        else:
            with socket.create_connection(self.server.upstream) as upstream:
                upstream.sendall(request)
                reply = b"".join(iter(lambda: upstream.recv(1 << 20), b""))
                if act == "short":
                    reply = reply[:-3]
                if act != "drop":
                    self.request.sendall(reply)

    def _read_request(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            part: bytes = self.request.recv(1 << 16)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if b"content-length:" in line]
        size = int(lengths[0].split(b":")[1]) if lengths else 0
        if b"100-continue" in head.lower():
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = head.replace(b"Expect: 100-continue\r\n", b"")
        while len(body) < size:
            body += self.request.recv(1 << 16)
        return head + b"\r\nConnection: close\r\n\r\n" + body


@pytest.fixture
def gate(s3) -> Iterator[Gate]:
    address = urlsplit(s3.endpoint)
    with Gate((address.hostname, address.port)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.closed.set()
        server.shutdown()
        thread.join()


@pytest.fixture(params=[open_store, open_source])
def opened(request: pytest.FixtureRequest) -> Callable[..., Source]:
    """Opens for reading and writing, and for reading alone: what is promised is the same."""
    return request.param


def test_a_lost_reply_of_put_new_is_settled_by_reading_back(s3, gate):
    store = open_store(s3.new_uri(), s3.options(endpoint=gate.endpoint))
    gate.script = ["drop"]
    store.put_new("claims/000001.json", b"mine")
    assert gate.num_requests == 3  # the lost one, the refused one, the read
    assert store.get("claims/000001.json") == b"mine"


def test_a_store_that_does_not_implement_the_condition_is_for_one_writer_alone(s3, gate):
    uri = s3.new_uri()
    gate.script = ["501"]
    with pytest.raises(ConfigurationError, match=r"refuses If-None-Match.*singleWriter true"):
        open_store(uri, s3.options(endpoint=gate.endpoint)).put_new("k", b"1")
    alone = open_store(uri, s3.options(endpoint=gate.endpoint, single_writer=True))
    gate.script = ["pass", "501"]  # it looks, is refused, and writes without the condition
    alone.put_new("k", b"1")
    assert gate.script == []
    assert alone.get("k") == b"1"
    with pytest.raises(ObjectExists):
        alone.put_new("k", b"2")


def test_a_lost_reply_is_no_excuse_for_taking_what_another_wrote(s3, gate):
    store = open_store(s3.new_uri(), s3.options(endpoint=gate.endpoint))
    open_store(store.uri, s3.options()).put_new("claims/000001.json", b"theirs")
    gate.script = ["503"]
    with pytest.raises(ObjectExists):
        store.put_new("claims/000001.json", b"mine")


def test_a_busy_server_is_asked_again(s3, gate):
    store = open_store(s3.new_uri(), s3.options(endpoint=gate.endpoint))
    gate.script = ["503", "drop"]
    store.put("CURRENT", b"1")
    gate.script = ["503"]
    assert [entry.key for entry in store.list_objects()] == ["CURRENT"]
    gate.script = ["503"]
    assert store.get("CURRENT") == b"1"


@pytest.mark.parametrize("fault", ["503", "drop", "short"])
def test_a_read_that_fails_is_asked_again(s3, gate, opened, fault):
    data = bytes(range(200))
    open_store(uri := s3.new_uri(), s3.options()).put("chunk", data)
    source = opened(uri, s3.options(endpoint=gate.endpoint))
    (pinned,) = source.list_objects()
    gate.script = [fault, fault, fault]
    assert source.get("chunk", etag=pinned.etag) == data
    gate.script = [fault, fault]
    assert source.get_range("chunk", 10, 20, etag=pinned.etag) == data[10:20]
    assert gate.script == []


def test_reads_after_an_outage_are_fast_again(s3, gate):
    open_store(uri := s3.new_uri(), s3.options()).put("chunk", b"1")
    source = open_source(uri, s3.options(endpoint=gate.endpoint))
    gate.script = ["503", "503"]
    for _ in range(2):
        assert source.get("chunk") == b"1"
    agents = [b"aiobotocore" in request.lower() for request in gate.requests]
    assert agents == [False, True, True, False]


def test_a_token_of_the_environment_is_not_sent_with_keys_of_the_secret(s3, gate, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "nonsense")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    open_store(uri := s3.new_uri(), s3.options()).put("chunk", b"1")
    assert open_source(uri, s3.options(endpoint=gate.endpoint)).get("chunk") == b"1"
    assert gate.num_requests == 1
    assert b"nonsense" not in gate.requests[0]


def test_keys_of_the_environment_are_found(s3, gate, monkeypatch):
    access, secret = "second-key", "second-secret"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setattr("argus_trainer.storage.s3._session", _new_session())
    open_store(uri := s3.new_uri(), s3.options()).put("chunk", b"1")
    options = s3.options(endpoint=gate.endpoint, credentials_directory=None)
    assert open_source(uri, options).get("chunk") == b"1"
    assert gate.num_requests == 1
    assert b"Credential=second-key/" in gate.requests[0]


def test_a_write_to_a_server_that_takes_all_and_says_nothing_ends_too(s3, monkeypatch):
    """It does not even say that the body may come: the client's own timeout never begins."""
    monkeypatch.setattr("argus_trainer.storage.s3.READ_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = open_store(s3.new_uri(), s3.options(endpoint=endpoint, outage_tolerance_seconds=1))
        with pytest.raises(StorageUnavailable, match="outageToleranceSeconds"):
            store.put_new("k", b"1")


def test_an_outage_ends_when_tolerance_ends(s3, opened):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        options = s3.options(endpoint=endpoint, outage_tolerance_seconds=1)
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match="outageToleranceSeconds"):
            opened(s3.new_uri(), options).get("plan.json")
    assert 1 <= time.monotonic() - began < 5


@pytest.mark.parametrize("fault", ["503", "hang"])
def test_a_wait_ends_when_the_process_must_stop(s3, gate, opened, fault):
    asked = threading.Event()
    options = s3.options(endpoint=gate.endpoint, outage_tolerance_seconds=600)
    store = opened(s3.new_uri(), options, stopping=asked.is_set)
    gate.script = [fault] * 100
    threading.Timer(0.3, asked.set).start()
    began = time.monotonic()
    with pytest.raises(Preempted):
        store.get("plan.json")
    assert time.monotonic() - began < 3


def test_wrong_keys_are_denied_at_first_contact(s3):
    folder = s3.credentials()
    s3.write_keys(folder, "first-key", "wrong-secret")
    store = open_store(s3.new_uri(), s3.options(credentials_directory=str(folder)))
    with pytest.raises(StorageDenied, match="check AWS_ACCESS_KEY_ID"):
        store.list_objects()
    with pytest.raises(StorageDenied, match="check AWS_ACCESS_KEY_ID"):
        store.put_new("k", b"")
    with pytest.raises(StorageDenied, match="check AWS_ACCESS_KEY_ID"):
        open_source(s3.new_uri(), s3.options(credentials_directory=str(folder))).get("k")


def test_rotated_keys_are_read_again(s3, gate):
    folder = s3.credentials()
    options = s3.options(endpoint=gate.endpoint, credentials_directory=str(folder))
    store = open_store(s3.new_uri(), options)
    store.put_new("a", b"")
    gate.revoked = b"first-key"
    s3.write_keys(folder, "second-key", "second-secret")
    store.put_new("b", b"")
    assert [entry.key for entry in store.list_objects()] == ["a", "b"]


def test_reads_go_on_with_rotated_keys(s3, gate):
    folder = s3.credentials()
    open_store(uri := s3.new_uri(), s3.options()).put("chunk", b"1")
    source = open_source(uri, s3.options(endpoint=gate.endpoint, credentials_directory=str(folder)))
    assert source.get("chunk") == b"1"
    gate.revoked = b"first-key"
    s3.write_keys(folder, "second-key", "second-secret")
    assert source.get("chunk") == b"1"
    gate.requests.clear()
    assert source.get("chunk") == b"1"
    (request,) = gate.requests
    assert b"second-key" in request
    assert b"aiobotocore" not in request.lower()


def test_a_refusal_after_success_is_an_outage(s3, gate):
    options = s3.options(endpoint=gate.endpoint, outage_tolerance_seconds=1)
    store = open_store(s3.new_uri(), options)
    store.put_new("a", b"")
    gate.script = ["403"]
    store.put_new("b", b"")
    gate.revoked = b"first-key"
    with pytest.raises(StorageUnavailable):
        store.put_new("c", b"")


def test_keys_that_may_only_read_are_denied_at_the_first_write(s3, gate):
    store = open_store(s3.new_uri(), s3.options(endpoint=gate.endpoint))
    store.list_objects()
    gate.revoked = b"first-key"
    with pytest.raises(StorageDenied):
        store.put_new("a", b"")


def test_a_bucket_that_is_not_there_is_named_with_the_way_out(s3):
    store = open_store("s3://no-such-bucket/x", s3.options())
    source = open_source("s3://no-such-bucket/x", s3.options())
    for ask in (
        store.list_objects,
        lambda: store.get("k"),
        lambda: store.put_new("k", b""),
        lambda: source.get("k"),
    ):
        with pytest.raises(ConfigurationError, match=r"bucket no-such-bucket .* create it"):
            ask()


def test_absent_keys_are_named_with_the_file(s3, tmp_path):
    with pytest.raises(ConfigurationError, match=r"AWS_ACCESS_KEY_ID is absent.*secretRef"):
        open_store(s3.new_uri(), s3.options(credentials_directory=str(tmp_path)))


def test_no_keys_at_all_are_denied(s3, opened, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # The session of this process may hold keys that it found in the environment before.
    monkeypatch.setattr("argus_trainer.storage.s3._session", _new_session())
    store = opened(s3.new_uri(), s3.options(credentials_directory=None))
    for ask in (store.list_objects, lambda: store.get("k")):
        with pytest.raises(StorageDenied, match="secretRef"):
            ask()


def _new_session() -> Callable[[], object]:
    return functools.cache(aiobotocore.session.AioSession)
