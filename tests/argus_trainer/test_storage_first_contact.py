"""What no waiting heals ends in seconds and one line; an outage is waited out."""

import errno
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from argus_contract.launch import LaunchStorage
from argus_trainer.errors import (
    ArgusError,
    ConfigurationError,
    StorageDenied,
    StorageUnavailable,
)
from argus_trainer.storage import first_contact
from argus_trainer.storage.first_contact import lost_cause
from argus_trainer.storage.open import open_source, open_store
from argus_trainer.storage.store import Source

PATIENT = LaunchStorage(outage_tolerance_seconds=600)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_contact, "FIRST_CONTACT_SECONDS", 0.3)


class Google(http.server.ThreadingHTTPServer):
    """Speaks as much of Google's interface as a test needs, on this machine alone."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status = 200
        self.num_requests = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Google

    def do_GET(self) -> None:
        self.server.num_requests += 1
        body = b"<Error><Code>NoSuchBucket</Code></Error>"
        if self.server.status == 200:
            body = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def closed() -> Iterator[str]:
    """A port of this machine at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


def account(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Has Google's client ask `endpoint`, without signatures."""
    key = {"gcs_base_url": endpoint, "disable_oauth": True}
    empty = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(key | empty))


def refusal_of(source: Source) -> ArgusError:
    with pytest.raises(ArgusError) as refusal:
        source.list_objects()
    assert "\n" not in str(refusal.value)
    return refusal.value


def test_an_address_without_keys_is_denied_with_the_way_out(monkeypatch, tmp_path, closed, capsys):
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"):
        monkeypatch.setenv(name, closed)
    for name in ("SERVICE_ACCOUNT", "SERVICE_ACCOUNT_KEY", "APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(f"GOOGLE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    refusal = refusal_of(open_source("gs://bucket/prefix", PATIENT))
    assert isinstance(refusal, StorageDenied)
    assert refusal.exit_code == 77
    for part in ("no keys for gs://bucket/prefix", "serviceAccountName", "GOOGLE_APPLICATION"):
        assert part in str(refusal)
    said = capsys.readouterr().out
    assert said
    assert all("storage waits" in line for line in said.splitlines())


def test_a_bucket_of_google_that_is_not_there_is_named_at_once(monkeypatch, google):
    account(monkeypatch, google.endpoint)
    google.status = 404
    refusal = refusal_of(open_source("gs://no-bucket/prefix", PATIENT))
    assert isinstance(refusal, ConfigurationError)
    assert "no bucket or container of gs://no-bucket/prefix: create it" in str(refusal)
    assert google.num_requests == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_listing_that_is_refused_is_denied_at_once(monkeypatch, google, status):
    account(monkeypatch, google.endpoint)
    google.status = status
    refusal = refusal_of(open_source("gs://bucket/prefix", PATIENT))
    assert isinstance(refusal, StorageDenied)
    assert google.num_requests == 1


def test_a_store_that_is_away_is_waited_for(monkeypatch, google):
    account(monkeypatch, google.endpoint)
    google.status = 503
    source = open_source("gs://bucket/prefix", PATIENT)
    threading.Timer(1.0, setattr, (google, "status", 200)).start()
    assert source.list_objects() == []
    assert google.num_requests > 2


def test_a_port_at_which_nobody_listens_is_an_outage(monkeypatch, closed):
    account(monkeypatch, f"http://{closed}")
    source = open_source("gs://bucket/x", LaunchStorage(outage_tolerance_seconds=1))
    refusal = refusal_of(source)
    assert isinstance(refusal, StorageUnavailable)
    assert "Debug source" not in str(refusal)


NOWHERE: dict[str, tuple[Callable[[], OSError], str]] = {
    "no such host": (
        lambda: socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        "does not exist",
    ),
    "no route": (lambda: OSError(errno.ENETUNREACH, "Network is unreachable"), "no route to"),
}


@pytest.fixture(params=[open_store, open_source])
def opened(request: pytest.FixtureRequest) -> Callable[..., Source]:
    return request.param


@pytest.mark.parametrize(("fault", "text"), NOWHERE.values(), ids=NOWHERE)
def test_an_endpoint_that_is_nowhere_ends_with_78(s3, opened, monkeypatch, fault, text):
    def refuse(*_: object, **__: object) -> None:
        raise fault()

    # Neither can be had without asking another machine.
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    options = s3.options(endpoint="http://store.example:9000", outage_tolerance_seconds=600)
    refusal = refusal_of(opened("s3://bucket/x", options))
    assert isinstance(refusal, ConfigurationError)
    assert text in str(refusal)
    assert "http://store.example:9000" in str(refusal)
    assert "storage.endpoint" in str(refusal)


def test_after_an_answer_the_same_is_an_outage(s3, monkeypatch):
    store = open_store(s3.new_uri(), s3.options(outage_tolerance_seconds=600))
    assert store.list_objects() == []
    real, calls = socket.getaddrinfo, []

    def away(*given: object, **named: object) -> object:
        calls.append(given)
        if len(calls) < 4:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1", *given[1:], **named)

    monkeypatch.setattr(socket, "getaddrinfo", away)
    # A new client, which looks for the host again.
    store._options = store._options.model_copy(
        update={"endpoint": s3.endpoint.replace("127.0.0.1", "store.example")}
    )
    store._filesystem = store._connect()
    assert store.list_objects() == []
    assert len(calls) >= 4


# As the library says them, taken from it in a network without any other machine.
OBSTORE = "Generic GCS error: Error performing list request: ... error sending request\n\nDebug"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('"dns error", error: "failed to lookup address information: Name or service not known"',
         ConfigurationError),
        ('"dns error", error: "failed to lookup address information: Temporary failure in name '
         'resolution"', None),
        ('code: 101, kind: NetworkUnreachable, message: "Network is unreachable"',
         ConfigurationError),
        ('code: 113, kind: HostUnreachable, message: "No route to host"', ConfigurationError),
        ('code: 111, kind: ConnectionRefused, message: "Connection refused"', None),
    ],
)  # fmt: skip
def test_what_the_client_of_clouds_says_in_words_is_understood(text, kind):
    found = lost_cause(OSError(f"{OBSTORE} source: {text}"), "gs://bucket")
    assert type(found) is (kind or type(None))
