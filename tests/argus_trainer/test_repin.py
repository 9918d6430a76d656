"""`data.onChange: Repin`: what an object became is recorded first, then used by everybody."""

import pytest

from argus_contract import layout
from argus_contract.plan import PinnedObject
from argus_trainer.checkpoints.repins import Repins
from argus_trainer.data.fetch import Fetcher
from argus_trainer.errors import ObjectChanged, ObjectNotFound, StorageUnavailable
from argus_trainer.storage.store import Store

WHEN = "2026-03-02T00:00:00Z"


def pinned_in(data: Store, key: str = "a.parquet") -> PinnedObject:
    info = next(info for info in data.list_objects() if info.key == key)
    return PinnedObject(key=key, size=info.size, etag=info.etag, start=WHEN, end=WHEN)


@pytest.fixture
def data(store_at) -> Store:
    store: Store = store_at("data")
    store.put("a.parquet", b"first")
    store.put("a.parquet.old", b"a longer key")
    return store


def fetched(data: Store, repins: Repins, pinned: PinnedObject) -> tuple[PinnedObject, bytes]:
    with Fetcher(data, max_bytes=1 << 20, pins=repins) as fetcher:
        found, content = next(fetcher.ordered([pinned]))
        return found, bytes(content)


def test_fail_names_the_object_and_both_ways_out(data) -> None:
    pinned = pinned_in(data)
    data.put("a.parquet", b"second")
    with Fetcher(data, max_bytes=1) as fetcher, pytest.raises(ObjectChanged) as refused:
        fetcher.fetch(pinned)
    for part in ("a.parquet changed under the run", "another runToken", "onChange Repin"):
        assert part in str(refused.value)
    assert refused.value.exit_code == 65


def test_an_object_that_is_the_plans_leaves_no_record(data, store_at) -> None:
    run = store_at("run")
    repins = Repins(run, print)
    pinned = pinned_in(data)
    assert fetched(data, repins, pinned) == (pinned, b"first")
    assert repins.reason is None
    assert not run.list_objects()


def test_a_changed_object_is_recorded_and_counts_for_every_later_attempt(data, store_at) -> None:
    run, pinned, said = store_at("run"), pinned_in(data), []
    data.put("a.parquet", b"second!")
    found, content = fetched(data, Repins(run, said.append), pinned)
    assert content == b"second!"
    assert (found.size, found.etag) == (7, pinned_in(data).etag)
    assert [info.key for info in run.list_objects()] == [layout.repin(1)]
    assert len(said) == 1
    assert "a.parquet changed after the plan" in said[0]
    later = Repins(run, said.append)
    assert fetched(data, later, pinned) == (found, b"second!")
    assert later.reason is not None
    assert "a.parquet changed" in later.reason
    assert len(said) == 1


def test_an_object_that_changes_again_is_recorded_again(data, store_at) -> None:
    run, pinned = store_at("run"), pinned_in(data)
    for content in (b"second", b"the third"):
        data.put("a.parquet", content)
        assert fetched(data, Repins(run, lambda _: None), pinned)[1] == content
    assert [info.key for info in run.list_objects()] == [layout.repin(1), layout.repin(2)]


def test_two_attempts_at_once_agree(data, store_at) -> None:
    run, pinned = store_at("run"), pinned_in(data)
    zombie, owner = (Repins(run, lambda _: None) for _ in range(2))
    data.put("a.parquet", b"second")
    fetched(data, zombie, pinned)
    fetched(data, owner, pinned)
    assert len(run.list_objects()) == 1
    assert owner.newest(pinned) == zombie.newest(pinned)
    data.put("a.parquet", b"third")
    fetched(data, owner, pinned)
    assert fetched(data, zombie, pinned)[1] == b"third"


def test_a_deleted_object_is_named_whatever_the_rule(data, store_at) -> None:
    pinned = pinned_in(data)
    data.delete(["a.parquet"])
    for pins in (None, Repins(store_at("run"), print)):
        with (
            Fetcher(data, max_bytes=1, pins=pins) as fetcher,
            pytest.raises(ObjectNotFound, match=r"a\.parquet was deleted under the run") as gone,
        ):
            fetcher.fetch(pinned)
        assert gone.value.exit_code == 65


def test_what_cannot_be_recorded_is_not_used(data, store_at, monkeypatch) -> None:
    run, pinned = store_at("run"), pinned_in(data)
    data.put("a.parquet", b"second")
    repins = Repins(run, print)

    def away(key: str, data: bytes) -> None:
        raise StorageUnavailable("storage: away")

    monkeypatch.setattr(run, "put_new", away)
    with pytest.raises(StorageUnavailable):
        fetched(data, repins, pinned)
    assert repins.newest(pinned) == pinned
    assert repins.reason is None
