"""What every store promises, in a folder and on S3 alike."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from argus_contract.launch import LaunchStorage
from argus_trainer.errors import (
    ConfigurationError,
    DataError,
    ObjectExists,
    ObjectNotFound,
    StorageError,
)
from argus_trainer.storage.open import open_store


def test_an_object_comes_back_as_it_was_written(store_at):
    store = store_at("")
    data = bytes(range(256)) * 4096
    store.put_new("deep/folder/blob", data)
    assert store.get("deep/folder/blob") == data


def test_an_absent_object_is_not_found(store_at):
    with pytest.raises(ObjectNotFound, match="nothing-here"):
        store_at("").get("nothing-here")


def test_one_of_eight_writers_wins(store_at):
    stores = [store_at("race"), store_at("race")] * 4
    writings = [f"writer {number}".encode() for number in range(8)]

    def write(number: int) -> bool:
        try:
            stores[number].put_new("claims/000001.json", writings[number])
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(write, range(8)))
    assert sum(won) == 1
    assert stores[0].get("claims/000001.json") == writings[won.index(True)]


def test_writing_the_same_bytes_again_is_success_and_other_bytes_are_refused(store_at):
    store = store_at("")
    store.put_new("k", b"ours")
    store.put_new("k", b"ours")
    with pytest.raises(ObjectExists):
        store.put_new("k", b"theirs")
    assert store.get("k") == b"ours"


def test_a_pinned_object_that_changed_is_refused(store_at):
    store = store_at("")
    store.put("chunk.parquet", b"first")
    (pinned,) = store.list_objects()
    assert store.get("chunk.parquet", etag=pinned.etag) == b"first"
    store.put("chunk.parquet", b"other")
    with pytest.raises(DataError, match=r"chunk\.parquet changed"):
        store.get("chunk.parquet", etag=pinned.etag)


def test_a_listing_is_deep_sorted_and_never_stale(store_at):
    store = store_at("run")
    store_at("run-of-another").put_new("claims/000001.json", b"x")
    assert store.list_objects() == []
    for key in ("steps/b", "plan.json", "steps/a", "claims/000001.json", "claims/deep/er"):
        store.put_new(key, key.encode())
    keys = ["claims/000001.json", "claims/deep/er", "plan.json", "steps/a", "steps/b"]
    assert [entry.key for entry in store.list_objects()] == keys
    assert [entry.key for entry in store.list_objects("steps/")] == ["steps/a", "steps/b"]
    assert [entry.key for entry in store.list_objects("claims/0")] == ["claims/000001.json"]
    assert [entry.size for entry in store.list_objects("steps/")] == [7, 7]
    store.delete(["steps/a", "steps/never-was"])
    assert [entry.key for entry in store.list_objects("steps/")] == ["steps/b"]


def test_a_listing_of_more_than_one_page_is_whole(s3, monkeypatch):
    monkeypatch.setattr("argus_trainer.storage.s3.PAGE_SIZE", 4)
    store = open_store(s3.new_uri(), s3.options())
    keys = [f"folder{number % 3}/{number:02d}" for number in range(13)]
    for key in keys:
        store.put(key, b"")
    assert [entry.key for entry in store.list_objects()] == sorted(keys)


def test_put_replaces(store_at):
    store = store_at("")
    store.put("CURRENT", b"1")
    store.put("CURRENT", b"2")
    assert store.get("CURRENT") == b"2"


def test_a_key_cannot_leave_the_folder_of_its_store(tmp_path):
    (tmp_path / "secret").write_bytes(b"")
    with pytest.raises(StorageError, match="leads out"):
        open_store(str(tmp_path / "data"), LaunchStorage()).get("../secret")


def test_a_half_written_file_is_no_object(tmp_path):
    store = open_store(str(tmp_path), LaunchStorage())
    store.put_new("steps/whole", b"x")
    (tmp_path / "steps" / ".argus-writing-0123").write_bytes(b"ha")
    assert [entry.key for entry in store.list_objects()] == ["steps/whole"]


def test_a_file_address_and_a_plain_path_are_one_place(tmp_path):
    open_store(f"file://{tmp_path}/with%20space", LaunchStorage()).put_new("k", b"v")
    assert open_store(str(Path(tmp_path, "with space")), LaunchStorage()).get("k") == b"v"


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/argus"])
def test_a_place_that_can_hold_no_object_is_refused_and_never_waited_for(tmp_path, place):
    (tmp_path / "file").write_bytes(b"")
    store = open_store(str(tmp_path / place), LaunchStorage())
    for write in (store.put_new, store.put):
        with pytest.raises(ConfigurationError, match=f"{place}.*name another folder"):
            write("deep/key", b"x")


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [("", None), ("gs://bucket/x", None), ("s3:///x", None), ("s3://bucket/x", "minio:9000")],
)
def test_an_address_that_cannot_work_is_refused_at_once(uri, endpoint):
    with pytest.raises(ConfigurationError, match="use "):
        open_store(uri, LaunchStorage(endpoint=endpoint))
