"""Objects come in order, many at once, within a number of bytes, and stop when they should."""

import gc
import threading
import time
import weakref
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_contract.launch import LaunchStorage
from argus_contract.plan import PinnedObject
from argus_trainer.data import fetch
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.remote_file import RemoteFile
from argus_trainer.errors import DataError, ObjectNotFound, Preempted
from argus_trainer.storage.open import open_source, open_store

NOW = datetime(2025, 1, 1, tzinfo=UTC)


class Bytes(bytearray):
    """Bytes whose life can be watched."""


class Counted:
    """A source of n-byte objects named "n/...", slow on request; it counts what is under way."""

    uri = "test://counted"

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.under_way = self.most_requests = 0
        self.begun: list[str] = []
        self.given: list[weakref.ref[Bytes]] = []
        self.most_bytes = 0
        self.gate = threading.Event()
        self.gate.set()
        self.pause = 0.0

    def get(self, key: str, *, etag: str | None = None) -> Bytes:
        with self.lock:
            self.begun.append(key)
            self.under_way += 1
            self.most_requests = max(self.most_requests, self.under_way)
        self.gate.wait()
        time.sleep(self.pause)
        if key.startswith("absent"):
            raise ObjectNotFound(f"storage: there is no such object: {key}")
        data = Bytes(int(key.partition("/")[0]))
        with self.lock:
            self.under_way -= 1
            self.given.append(weakref.ref(data))
            alive = [one for given in self.given if (one := given()) is not None]
            self.most_bytes = max(self.most_bytes, sum(len(one) for one in alive))
        return data

    def get_range(self, key, start, end, *, etag=None):
        raise NotImplementedError

    def list_objects(self, prefix=""):
        raise NotImplementedError


def pinned(key: str, size: int, etag: str = "e") -> PinnedObject:
    return PinnedObject(key=key, size=size, etag=etag, start=NOW, end=NOW)


def of_sizes(sizes) -> list[PinnedObject]:
    return [pinned(f"{size}/{number}", size) for number, size in enumerate(sizes)]


@given(
    sizes=st.lists(st.integers(0, 50), max_size=40),
    max_bytes=st.integers(0, 200),
    num_threads=st.integers(1, 6),
)
def test_every_object_comes_once_in_order_within_the_limit(sizes, max_bytes, num_threads):
    source = Counted()
    objects = of_sizes(sizes)
    with Fetcher(source, max_bytes=max_bytes, num_threads=num_threads) as fetcher:
        got = [(one, len(content)) for one, content in fetcher.ordered(objects)]
    assert got == [(one, one.size) for one in objects]
    assert sorted(source.begun) == sorted(one.key for one in objects)
    assert source.most_requests <= num_threads
    # The taker may still hold the one before.
    assert source.most_bytes <= max(max_bytes, max(sizes, default=0)) + max(sizes, default=0)


def test_requests_overlap_up_to_the_number_of_threads():
    source = Counted()
    source.gate.clear()
    with Fetcher(source, max_bytes=1000, num_threads=4) as fetcher:
        begun = fetcher.ordered(of_sizes([10] * 20))
        taker = threading.Thread(target=lambda: next(begun))
        taker.start()
        _until(lambda: source.under_way == 4)
        source.gate.set()
        taker.join(10)
        begun.close()
    assert source.most_requests == 4


def test_what_is_not_taken_counts_against_the_limit():
    source = Counted()
    with Fetcher(source, max_bytes=35, num_threads=8) as fetcher:
        iteration = fetcher.ordered(of_sizes([10] * 20))
        next(iteration)
        _until(lambda: len(source.begun) == 3)
        time.sleep(0.05)
        assert len(source.begun) == 3
        iteration.close()


def test_what_was_taken_is_not_kept():
    source = Counted()
    with Fetcher(source, max_bytes=10, num_threads=1) as fetcher:
        iteration = fetcher.ordered(of_sizes([10, 10]))
        _, content = next(iteration)
        watched = weakref.ref(content)
        del content
        gc.collect()
        assert watched() is None
        iteration.close()


def test_an_error_comes_at_its_place():
    objects = [*of_sizes([1, 2]), pinned("absent", 1), *of_sizes([3])]
    with Fetcher(Counted(), max_bytes=100) as fetcher:
        iteration = fetcher.ordered(objects)
        assert [len(content) for _, content in (next(iteration), next(iteration))] == [1, 2]
        with pytest.raises(ObjectNotFound, match="absent"):
            next(iteration)


def test_an_object_of_another_size_is_refused_by_name():
    with (
        Fetcher(Counted(), max_bytes=100) as fetcher,
        pytest.raises(
            DataError, match=r"test://counted/3/x changed .* size in bytes is 3 and was 4"
        ),
    ):
        list(fetcher.ordered([pinned("3/x", 4)]))


def test_a_wait_ends_when_check_says_so():
    source = Counted()
    source.gate.clear()

    def check() -> None:
        raise Preempted("asked to stop")

    began = time.monotonic()
    with Fetcher(source, max_bytes=100, num_threads=2) as fetcher, pytest.raises(Preempted):
        next(fetcher.ordered(of_sizes([1] * 9), check=check))
    assert time.monotonic() - began < 2
    source.gate.set()
    _until(lambda: source.under_way == 0)
    time.sleep(0.05)
    assert len(source.begun) == 2, "requests were begun after the end"


def test_close_does_not_wait_for_a_server_that_is_silent():
    source = Counted()
    source.gate.clear()
    fetcher = Fetcher(source, max_bytes=100, num_threads=3)
    taker = threading.Thread(target=lambda: list(fetcher.ordered(of_sizes([1]))), daemon=True)
    taker.start()
    _until(lambda: source.under_way == 1)
    began = time.monotonic()
    fetcher.close()
    assert time.monotonic() - began < 1
    source.gate.set()
    taker.join(10)
    assert not taker.is_alive()


def test_a_large_object_is_read_row_group_by_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "LARGE_BYTES", 1000)
    table = pa.table({"a": range(40_000), "b": [f"text {n * n}" for n in range(40_000)]})
    pq.write_table(table, tmp_path / "large.parquet", row_group_size=10_000)
    source = open_source(str(tmp_path), LaunchStorage())
    (info,) = source.list_objects()
    reads: list[int] = []
    get_range = source.get_range

    def counted(key, start, end, *, etag=None):
        reads.append(end - start)
        return get_range(key, start, end, etag=etag)

    monkeypatch.setattr(source, "get_range", counted)
    with Fetcher(source, max_bytes=10) as fetcher:
        ((_, content),) = fetcher.ordered([pinned(info.key, info.size, info.etag)])
    assert isinstance(content, RemoteFile)
    file = pq.ParquetFile(pa.PythonFile(content, mode="r"))
    group = file.read_row_group(2, columns=["a"])
    assert group.column("a").to_pylist() == [*range(20_000, 30_000)]
    assert sum(reads) < info.size / 2
    assert file.read().equals(table)


def test_a_large_object_that_changes_under_the_reader_is_refused(tmp_path):
    store = open_store(str(tmp_path), LaunchStorage())
    store.put("k", b"0123456789")
    (info,) = store.list_objects()
    file = RemoteFile(store, pinned("k", info.size, info.etag))
    assert file.read(4) == b"0123"
    assert file.seek(-2, 2) == 8
    assert file.read() == b"89"
    assert file.read(1) == b""
    store.put("k", b"9876543210")
    file.seek(0)
    with pytest.raises(DataError, match="k changed under the run"):
        file.read(1)


def _until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)
