"""A store without conditional writes: refused, or used by one writer that promises to be alone."""

import pytest

from argus_contract import layout
from argus_trainer.errors import ConfigurationError, ObjectExists
from argus_trainer.storage.open import open_store
from argus_trainer.storage.s3 import S3Store


class Ignoring(S3Store):
    """A real server that never sees If-None-Match: what a store does that ignores it."""

    def _put(self, operation: str, key: str, data: bytes, **condition: str) -> None:
        super()._put(operation, key, data)


@pytest.fixture(params=["a folder", "S3"])
def honest(request, tmp_path, s3):
    """Opens a store that keeps its promises, with or without the promise of one writer."""
    uri = str(tmp_path) if request.param == "a folder" else s3.new_uri()
    return lambda **options: open_store(uri, s3.options(**options))


def test_a_store_that_ignores_the_condition_is_refused_and_nothing_is_left(tools, s3):
    store = Ignoring(s3.new_uri(), s3.options())
    trainer = tools.trainer(tools.places_in(store))
    with pytest.raises(ConfigurationError, match=r"If-None-Match.*storage\.singleWriter true"):
        trainer.live(2)
    assert store.list_objects(f"checkpoints/{tools.run_key}/claims/") == []


def test_one_writer_lives_its_life_on_a_store_that_ignores_the_condition(tools, s3):
    place = tools.places_in(Ignoring(s3.new_uri(), s3.options(single_writer=True)))
    first = tools.trainer(place)
    first.live(4, until=2)
    assert tools.trainer(place).live(4).id.step == 4
    assert [a.number for a in tools.trainer(place).claims.attempts()] == [1, 2]
    assert tools.trainer(place).live(4) is None


def test_one_writer_never_replaces_what_is_there(s3):
    store = Ignoring(s3.new_uri(), s3.options(single_writer=True))
    store.put_new("k", b"ours")
    store.put_new("k", b"ours")
    with pytest.raises(ObjectExists):
        store.put_new("k", b"theirs")
    assert store.get("k") == b"ours"


@pytest.mark.soak
def test_one_writer_may_die_at_every_request_there(tools, s3):
    base = Ignoring(s3.new_uri(), s3.options(single_writer=True))
    calm = tools.fate()
    tools.trainer(tools.places(tools.places_in(base), "calm"), calm, keep_last=1).live(1)
    for number in range(len(calm.made)):
        place = tools.places(tools.places_in(base), str(number))
        with pytest.raises(tools.killed):
            tools.trainer(place, tools.fate(number), keep_last=1).live(1)
        tools.trainer(place, keep_last=1).live(1)
        run = place(f"checkpoints/{tools.run_key}")
        assert run.list_objects(layout.FINAL)
        assert len(place("models").list_objects("published/")) == 1


def test_the_promise_changes_nothing_on_a_store_that_has_the_condition(honest):
    store, other = honest(single_writer=True), honest()
    store.put_new("k", b"ours")
    with pytest.raises(ObjectExists):
        other.put_new("k", b"theirs")
    with pytest.raises(ObjectExists):
        store.put_new("k", b"theirs")
