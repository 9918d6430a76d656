"""The list of published bundles: one record per run, one current model."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from argus_contract.digests import wire_bytes
from argus_contract.layout import published
from argus_contract.ledger import BundleFile, BundleManifest, PublishedRecord
from argus_contract.status import PublishedState
from argus_trainer.bundle.publish import artifact_of, publish, reserve_name
from argus_trainer.bundle.records import Records, find_published, mend_current
from argus_trainer.bundle.whole import damage_of
from argus_trainer.errors import DataError, ObjectNotFound
from argus_trainer.storage.store import Store
from argus_trainer.upkeep.models import Models

NOW = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
def output(store_at) -> Store:
    return store_at("models")


def written(output: Store, bundle: str, run_key: str, *, data_ends_on: int = 1) -> str:
    """Leaves a bundle of one file, as `write_bundle` would, and returns its name."""
    data = run_key.encode() * 1000
    output.put_new(f"{bundle}/model.safetensors", data)
    manifest = BundleManifest(
        run_key=run_key,
        files=(
            BundleFile(
                name="model.safetensors", size=len(data), sha256=hashlib.sha256(data).hexdigest()
            ),
        ),
        manifest_digest="d",
        window_end=datetime(2026, 1, data_ends_on, tzinfo=UTC),
        seed=42,
        image="",
        metrics={},
        versions={},
    )
    output.put_new(f"{bundle}/MANIFEST.json", wire_bytes(manifest))
    return bundle


def current(output: Store) -> PublishedRecord:
    return PublishedRecord.model_validate_json(output.get("CURRENT"))


def test_two_runs_in_one_second_get_two_names(output):
    assert reserve_name(output, "one", NOW) == "tft_model_20260131_235959"
    assert reserve_name(output, "two", NOW) == "tft_model_20260201_000000"


def test_a_run_that_reserves_again_gets_its_name_again(output):
    assert reserve_name(output, "one", NOW) == reserve_name(output, "one", NOW)


def test_a_published_bundle_is_found_and_current(output):
    assert find_published(output, "one") is None
    record = publish(output, written(output, "tft_model_a", "one"), who="ns/run")
    assert (record.number, record.current, record.who) == (1, True, "ns/run")
    assert find_published(output, "one") == record
    assert find_published(output, "two") is None
    assert current(output) == record
    assert record.digest == hashlib.sha256(output.get("tft_model_a/MANIFEST.json")).hexdigest()


def test_publishing_again_adds_no_record_and_mends_the_copy(output):
    bundle = written(output, "tft_model_a", "one")
    first = publish(output, bundle, who="ns/run")
    output.put("CURRENT", b"the pod died before it wrote this")
    assert publish(output, bundle, who="ns/run") == first
    assert [entry.key for entry in output.list_objects("published/")] == [published(1)]
    assert current(output) == first


@pytest.mark.parametrize("stale", [None, b"an older record"])
def test_the_copy_of_the_current_record_is_mended_whoever_left_it_behind(output, stale):
    first = publish(output, written(output, "tft_model_a", "one"), who="ns/run")
    output.delete(["CURRENT"])
    if stale:
        output.put("CURRENT", stale)
    mend_current(output)
    assert current(output) == first


def test_an_output_without_a_model_gets_no_copy(output):
    mend_current(output)
    assert not list(output.list_objects(""))


def test_a_model_of_older_data_is_recorded_but_not_current(output):
    newest = publish(output, written(output, "b", "b", data_ends_on=20), who="ns/b")
    older = publish(output, written(output, "a", "a", data_ends_on=19), who="ns/a")
    assert (older.number, older.current) == (2, False)
    assert current(output) == newest
    again = publish(output, written(output, "c", "c", data_ends_on=20), who="ns/c")
    assert again.current
    assert current(output) == again
    assert artifact_of(output, older).published is PublishedState.SUPERSEDED


def test_eight_runs_that_publish_at_once_leave_one_order_and_the_newest_data_current(output):
    bundles = [
        written(output, f"bundle{day}", f"run{day}", data_ends_on=day) for day in range(1, 9)
    ]
    with ThreadPoolExecutor(8) as threads:
        records = list(threads.map(lambda bundle: publish(output, bundle, who="ns/r"), bundles))
    assert sorted(record.number for record in records) == list(range(1, 9))
    order = sorted(records, key=lambda record: record.number)
    highest = [max(r.window_end for r in order[: place + 1]) for place in range(8)]
    assert [r.current for r in order] == [
        r.window_end == newest for r, newest in zip(order, highest, strict=True)
    ]


@pytest.mark.parametrize("damage", [b"", b"other"])
def test_a_damaged_bundle_is_never_published(output, damage):
    bundle = written(output, "tft_model_a", "one")
    output.put("tft_model_a/model.safetensors", damage)
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        publish(output, bundle, who="ns/run")
    assert output.list_objects("published/") == []


def test_a_bundle_without_its_manifest_is_never_published(output):
    output.put_new("tft_model_a/model.safetensors", b"half")
    with pytest.raises(ObjectNotFound):
        publish(output, "tft_model_a", who="ns/run")
    assert output.list_objects("published/") == []


def test_the_artifact_names_every_file_even_of_the_manifest(output):
    record = publish(output, written(output, "tft_model_a", "one"), who="ns/run")
    artifact = artifact_of(output, record)
    assert artifact.uri == f"{output.uri}/tft_model_a"
    assert artifact.files == ("model.safetensors", "MANIFEST.json")
    assert artifact.published is PublishedState.TRUE


def test_a_pruned_bundle_is_still_published(output):
    record = publish(output, written(output, "tft_model_a", "one"), who="ns/run")
    output.delete([entry.key for entry in output.list_objects("tft_model_a/")])
    assert find_published(output, "one") == record
    assert artifact_of(output, record).files == ()


def listed(output: Store, names: str) -> None:
    """Publishes a model of each run, in this order, each of newer data."""
    for day, name in enumerate(names, 1):
        publish(output, written(output, f"bundle-{name}", name, data_ends_on=day), who="ns/r")


@pytest.mark.parametrize("damage", [b"", b"torn", b'{"contractVersion": 99}'])
def test_a_record_that_cannot_be_read_stops_nobody_and_keeps_its_number(output, damage):
    listed(output, "abc")
    output.put(published(2), damage)
    said: list[str] = []
    assert find_published(output, "a", said.append).number == 1
    assert len(said) == 1
    assert said[0].startswith(f"1 published record passed over: {output.uri}/{published(2)}")
    models = Models(output)
    assert [bool(models.publication_of(run, verify=False)) for run in "abc"] == [True, False, True]
    (fault,) = models.faults
    assert fault.startswith(f"{output.uri}/{published(2)}")
    record = publish(output, written(output, "bundle-d", "d", data_ends_on=9), who="ns/r")
    assert (record.number, record.current) == (4, True)
    assert current(output) == record


def test_the_copy_of_the_current_record_stays_where_a_newer_record_cannot_be_read(output):
    listed(output, "abc")
    newest = current(output)
    output.put(published(3), b'{"contractVersion": 99}')
    mend_current(output)
    assert current(output) == newest
    # A number that was skipped is never given again, even at the end of the list.
    record = publish(output, written(output, "bundle-d", "d", data_ends_on=9), who="ns/r")
    assert record.number == 4


def test_records_are_read_newest_first_and_no_further_than_needed(output, monkeypatch):
    listed(output, "abcdefghijklmnopqrstuvwxyz")
    asked: list[str] = []
    get = output.get
    monkeypatch.setattr(output, "get", lambda key: (asked.append(key), get(key))[1])
    assert find_published(output, "z").number == 26
    assert asked == [published(26)]
    asked.clear()
    mend_current(output)
    assert asked == [published(26), "CURRENT"]
    asked.clear()
    assert find_published(output, "w").number == 23
    assert len(asked) <= 7
    asked.clear()
    records = Records(output)
    assert records.of_run("never") is None
    assert records.current().number == 26
    assert len(asked) == 26, "each once"


def test_a_published_bundle_is_whole_pruned_or_damaged(output):
    record = publish(output, written(output, "tft_model_a", "one"), who="ns/run")
    assert damage_of(output, record) is None
    model, manifest = "tft_model_a/model.safetensors", "tft_model_a/MANIFEST.json"
    good, listing = output.get(model), output.get(manifest)
    other = BundleManifest.model_validate_json(listing).model_copy(update={"seed": 43})
    for key, data, said in (
        (model, b"other", "model.safetensors is damaged"),
        (model, None, "no such object"),
        (manifest, None, "no such object"),
        (manifest, b"torn", "is no JSON"),
        (manifest, wire_bytes(other), "another one than was published"),
    ):
        output.delete([key])
        if data is not None:
            output.put(key, data)
        found = damage_of(output, record)
        assert found is not None
        assert said in found
        output.put(model, good)
        output.put(manifest, listing)
    output.delete([model, manifest])
    assert damage_of(output, record) is None


def test_a_bundle_that_was_written_again_with_other_bytes_gets_a_record_of_its_own(output):
    first = publish(output, written(output, "tft_model_a", "one"), who="ns/run")
    manifest = BundleManifest.model_validate_json(output.get("tft_model_a/MANIFEST.json"))
    output.put("tft_model_a/MANIFEST.json", wire_bytes(manifest.model_copy(update={"seed": 43})))
    second = publish(output, "tft_model_a", who="ns/run")
    assert (second.number, second.current) == (2, True)
    assert second.digest != first.digest
    assert find_published(output, "one") == second == publish(output, "tft_model_a", who="ns/run")


def test_finding_a_published_run_needs_no_torch():
    check = (
        "import sys; import argus_trainer.bundle.publish, argus_trainer.checkpoints.claims, "
        "argus_trainer.checkpoints.run; sys.exit('torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", check], env=environment).returncode == 0
