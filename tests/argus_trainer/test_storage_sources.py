"""What every source promises: a folder, S3, Google's interface, and a file system of fsspec."""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
import pytest

from argus_contract.launch import LaunchStorage
from argus_trainer.errors import (
    ConfigurationError,
    DataError,
    ObjectNotFound,
)
from argus_trainer.storage.open import open_source, open_store
from argus_trainer.storage.store import Source

Put = Callable[[str, bytes], None]

ODD_KEYS = (
    "time_chunk=20250101_00/part 0+1.parquet",
    "a%20b",
    "q?x#y",
    "üml/[1]{2}~3^4|5",
    "'quoted\"&<>*",
)


@pytest.fixture(params=["folder", "s3", "gs", "memory"])
def place(request, tmp_path, monkeypatch) -> tuple[Source, Put]:
    """A source, and a way to put objects where it reads them."""
    quick = {"outage_tolerance_seconds": 5}
    if request.param == "folder":
        store = open_store(str(tmp_path / "data"), LaunchStorage())
        return open_source(store.uri, LaunchStorage(**quick)), store.put
    if request.param == "memory":
        memory = fsspec.filesystem("memory")
        root = f"/{tmp_path.name}"
        source = open_source(f"memory:/{root}", LaunchStorage(**quick))
        return source, lambda key, data: memory.pipe_file(f"{root}/{key}", data)
    s3 = request.getfixturevalue("s3")
    store = open_store(s3.new_uri(), s3.options())
    if request.param == "s3":
        return open_source(store.uri, s3.options()), store.put
    account = {
        "gcs_base_url": s3.endpoint,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
    return open_source(store.uri.replace("s3://", "gs://"), LaunchStorage(**quick)), store.put


def test_a_listing_is_deep_sorted_and_never_stale(place):
    source, put = place
    assert source.list_objects() == []
    for key in ("plan.json", "steps/b", "steps/deep/er", "steps/a"):
        put(key, key.encode())
    keys = ["plan.json", "steps/a", "steps/b", "steps/deep/er"]
    assert [entry.key for entry in source.list_objects()] == keys
    assert [entry.size for entry in source.list_objects()] == [len(key) for key in keys]
    assert [entry.key for entry in source.list_objects("steps/")] == keys[1:]
    assert [entry.key for entry in source.list_objects("steps/d")] == keys[3:]


def test_what_was_listed_is_read_whole_and_in_parts(place):
    source, put = place
    data = bytes(range(256)) * 4096
    put("deep/chunk", data)
    (pinned,) = source.list_objects()
    assert source.get("deep/chunk", etag=pinned.etag) == data
    assert source.get("deep/chunk") == data
    assert source.get_range("deep/chunk", 10, 700, etag=pinned.etag) == data[10:700]


def test_a_pinned_object_that_changed_is_refused_by_name(place):
    source, put = place
    put("chunk.parquet", b"first")
    (pinned,) = source.list_objects()
    put("chunk.parquet", b"other")
    with pytest.raises(DataError, match=r"chunk\.parquet changed under the run"):
        source.get("chunk.parquet", etag=pinned.etag)
    with pytest.raises(DataError, match=r"chunk\.parquet changed under the run"):
        source.get_range("chunk.parquet", 0, 2, etag=pinned.etag)
    (pinned,) = source.list_objects()
    assert source.get("chunk.parquet", etag=pinned.etag) == b"other"


@pytest.mark.parametrize(("start", "end"), [(3, 9), (7, 9)])
def test_an_object_that_became_shorter_is_refused_by_name(place, start, end):
    source, put = place
    put("chunk", b"12345")
    with pytest.raises(DataError, match=f"chunk is shorter than it was: bytes {start}-{end - 1}"):
        source.get_range("chunk", start, end)


def test_an_absent_object_is_not_found(place):
    source, _ = place
    for ask in (lambda: source.get("nothing-here"), lambda: source.get_range("nothing-here", 0, 1)):
        with pytest.raises(ObjectNotFound, match="nothing-here"):
            ask()


def test_keys_with_odd_characters_are_read(place):
    source, put = place
    for key in ODD_KEYS:
        put(key, key.encode())
    assert [entry.key for entry in source.list_objects()] == sorted(ODD_KEYS)
    for key in ODD_KEYS:
        assert source.get(key) == key.encode()


def test_an_address_that_no_library_knows_is_refused_with_the_way_out():
    with pytest.raises(ConfigurationError, match=r"'nonsense://x' cannot be opened.*use s3://"):
        open_source("nonsense://x", LaunchStorage())


def test_a_file_system_that_is_not_installed_is_named():
    with pytest.raises(ConfigurationError, match=r"sftp.*install the fsspec file system"):
        open_source("sftp://x/y", LaunchStorage())


@pytest.mark.parametrize("opened", [open_source, open_store])
def test_a_private_certificate_is_accepted_with_its_authority_alone(s3, tls, opened):
    options = {"endpoint": tls.endpoint, "outage_tolerance_seconds": 600}
    open_store(uri := s3.new_uri(), s3.options()).put("chunk", b"1")
    source = opened(uri, s3.options(**options, ca_bundle=str(tls.authority)))
    assert [entry.key for entry in source.list_objects()] == ["chunk"]
    assert source.get("chunk") == b"1"
    with pytest.raises(ConfigurationError, match=r"certificate .*storage.caBundleRef"):
        opened(uri, s3.options(**options)).get("chunk")


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_certificates_that_cannot_be_read_are_named(tmp_path, s3, content):
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_bytes(content)
    for opened in (open_source, open_store):
        with pytest.raises(ConfigurationError, match=r"caBundleRef: .*ca\.crt"):
            opened("s3://bucket/x", s3.options(ca_bundle=str(path)))


class Tls:
    """A door with a certificate of its own authority in front of the S3 server."""

    def __init__(self, folder: Path, upstream: tuple[str, int]) -> None:
        self.authority = folder / "ca.crt"
        _make_certificates(folder)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "server.crt", folder / "server.key")
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with raw:
            try:
                client = self._context.wrap_socket(raw, server_side=True)
            except OSError:
                return  # the client did not accept the certificate
            with client, socket.create_connection(self._upstream) as upstream:
                back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
                back.start()
                _pump(client, upstream)
                back.join(5)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _make_certificates(folder: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca")
    openssl("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=s3")
    openssl(
        *("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-out", "server.crt", "-extfile", "names"),
    )


@pytest.fixture
def tls(s3, tmp_path) -> Iterator[Tls]:
    address = urlsplit(s3.endpoint)
    door = Tls(tmp_path, (address.hostname, address.port))
    yield door
    door.close()
