"""A run over a network that loses, cuts, delays and doubles: toxiproxy stands before the server.

Each fault strikes at one write and is over at the client's first failure, so that every
write of a life is struck once by each. What a life leaves must be what an undisturbed one leaves.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from argus_contract import layout
from argus_contract.digests import wire_bytes
from argus_contract.ledger import Final
from argus_trainer.errors import StorageUnavailable
from argus_trainer.storage import patience, s3
from argus_trainer.storage.open import open_store

# Hundreds of lives in a test: on a machine that is shared they take minutes.
pytestmark = [pytest.mark.kills, pytest.mark.timeout(600)]

NUM_STEPS = 2
PATIENT_SECONDS = 0.3
"""How long the client waits for a reply; the faults below last longer."""

FAULTS: dict[str, Callable] = {
    # The request is through, its reply is not: a retry finds its own object. What passes is the
    # interim "HTTP/1.1 100 Continue" (25 bytes), without which no body would be sent.
    "lost": lambda proxy: proxy.add("limit_data", "downstream", bytes=30),
    # The reply comes when the client has given up and asked again: everything happens twice.
    "late": lambda proxy: proxy.add("latency", "downstream", latency=int(PATIENT_SECONDS * 2000)),
    # The request itself is cut in its middle.
    "cut": lambda proxy: proxy.add("limit_data", "upstream", bytes=100),
    # The connection is reset by the peer.
    "reset": lambda proxy: proxy.add("reset_peer", "downstream", timeout=0),
    # Nothing arrives, and nobody says so.
    "silent": lambda proxy: proxy.add("timeout", "upstream", timeout=0),
}


class Struck:
    """A store whose n-th write meets a fault, of all writes that `counter` counts."""

    def __init__(self, store, counter: Iterator[int], strike: Callable[[int], object]) -> None:
        self._store, self._counter, self._strike = store, counter, strike

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put_new(self, key: str, data: bytes) -> None:
        with self._strike(next(self._counter)):
            self._store.put_new(key, data)

    def put(self, key: str, data: bytes) -> None:
        with self._strike(next(self._counter)):
            self._store.put(key, data)

    def delete(self, keys: list[str]) -> None:
        for key in keys:
            with self._strike(next(self._counter)):
                self._store.delete([key])


def struck_places(store_at, counter: Iterator[int], strike: Callable[[int], object]):
    return lambda prefix: Struck(store_at(prefix), counter, strike)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(s3, "READ_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.02)


def left_behind(store_at) -> dict[str, bytes]:
    """All that a life leaves but what is random or a clock's."""
    base = store_at("")
    left = {entry.key: base.get(entry.key) for entry in base.list_objects()}
    for key, data in left.items():
        if "/claims/" in key:
            left[key] = b"has a random token"
        if key.endswith(layout.FINAL):
            # The manifest that it names tells how long the save took.
            final = Final.model_validate_json(data)
            left[key] = wire_bytes(final.model_copy(update={"manifest_sha256": ""}))
    return left


def strikes(tools, toxiproxy, bucket_at, proxied_at, fault: str, monkeypatch) -> int:
    """Lets one life be struck at each write; returns how many strikes were felt."""
    calm = tools.places(bucket_at, "calm")
    tools.trainer(calm, keep_last=1).live(NUM_STEPS)
    want = left_behind(calm)
    felt = 0
    pause = patience.Patience.pause

    def heal_and_pause(self, failure):
        nonlocal felt
        felt += 1
        toxiproxy.heal()
        pause(self, failure)

    monkeypatch.setattr(patience.Patience, "pause", heal_and_pause)
    for number in itertools.count():
        counter = itertools.count()

        @contextmanager
        def strike(count: int, number: int = number):
            if count == number:
                FAULTS[fault](toxiproxy)
            yield
            if count == number:
                toxiproxy.heal()

        place = tools.places(proxied_at, f"{fault}-{number}")
        tools.trainer(struck_places(place, counter, strike), keep_last=1).live(NUM_STEPS)
        assert left_behind(tools.places(bucket_at, f"{fault}-{number}")) == want
        if next(counter) <= number:
            return felt
    raise AssertionError


@pytest.mark.parametrize("fault", ["lost", "late"])
def test_a_write_whose_reply_is_lost_or_late_counts_once(
    tools, toxiproxy, bucket_at, proxied_at, fault, monkeypatch
):
    assert strikes(tools, toxiproxy, bucket_at, proxied_at, fault, monkeypatch) > 10


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["cut", "reset", "silent"])
def test_a_write_that_does_not_get_through_is_made_again(
    tools, toxiproxy, bucket_at, proxied_at, fault, monkeypatch
):
    assert strikes(tools, toxiproxy, bucket_at, proxied_at, fault, monkeypatch) > 10


@pytest.fixture
def proxied_at(s3, toxiproxy, impatient, tools, bucket_at):
    """The bucket of `bucket_at`, through the proxy."""
    uri = bucket_at("").uri
    return tools.places_in(open_store(uri, s3.options(endpoint=toxiproxy.endpoint)))


@pytest.mark.parametrize("do", ["list_objects", "get", "put_new", "delete"])
def test_a_store_that_stays_away_ends_with_74_after_the_tolerance(s3, toxiproxy, do):
    options = s3.options(endpoint=toxiproxy.endpoint, outage_tolerance_seconds=1)
    store = open_store(s3.new_uri(), options)
    store.put_new("there", b"1")
    toxiproxy.open_door(is_open=False)
    calls = {
        "list_objects": store.list_objects,
        "get": lambda: store.get("there"),
        "put_new": lambda: store.put_new("new", b"2"),
        "delete": lambda: store.delete(["there"]),
    }
    with pytest.raises(StorageUnavailable, match="outageToleranceSeconds") as caught:
        calls[do]()
    assert caught.value.exit_code == 74
    toxiproxy.heal()
    assert store.get("there") == b"1"
