"""What was read once is not read again, and changes nothing to the bit."""

import dataclasses
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from argus_contract.plan import PinnedObject, Split
from argus_trainer.data import record_cache, survey
from argus_trainer.data.moments import Moments
from argus_trainer.data.record import ObjectRecord, RecordForm, TargetRecord
from argus_trainer.data.record_pack import DamagedPackError, packed, unpacked
from argus_trainer.errors import StorageDenied
from argus_trainer.storage.local import LocalStore


@pytest.fixture
def read_keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that any folder was asked for, in order."""
    keys: list[str] = []
    get = LocalStore.get

    def counted(self: LocalStore, key: str, **options: object) -> bytes:
        keys.append(key)
        return get(self, key, **options)

    monkeypatch.setattr(LocalStore, "get", counted)
    return keys


def of_data(keys: list[str]) -> list[str]:
    return [key for key in keys if key.endswith(".parquet")]


def between(run, start: int, end: int, validation: int = 4):
    """Takes the objects [start, end) of the run's plan, the last few for validation."""
    objects = run.make_plan().objects[start:end]
    num = len(objects)
    split = Split(train_end=num - validation, validation_end=num)
    run.plan = run.make_plan().model_copy(update={"objects": objects, "split": split})
    return run


def test_a_weekly_retrain_reads_only_new_objects(rows, run_over, write, read_keys) -> None:
    run = run_over(write(rows(chunks=26)))
    between(run, 0, 20).make_statistics()
    keys = [pinned.key for pinned in run.make_plan().objects]
    assert sorted(of_data(read_keys)) == keys[:20]
    read_keys.clear()
    kept = between(run, 5, 26).make_statistics()
    assert sorted(of_data(read_keys)) == keys[20:]
    read_keys.clear()
    assert between(run, 5, 26).make_statistics() == kept
    assert not of_data(read_keys)
    # And all of it equals a run that reads everything itself.
    other = run_over(run.folder)
    other.kept_in = "elsewhere"
    assert between(other, 5, 26).make_statistics() == kept
    assert not run.said


def test_gathered_rows_are_read_again_only_beside_a_new_object(
    rows, run_over, write, read_keys
) -> None:
    run = run_over(write(rows(chunks=26)), rules_of_data={"cadence_seconds": 1200}, encoder=3)
    between(run, 0, 20).make_statistics()
    keys = [pinned.key for pinned in run.make_plan().objects]
    read_keys.clear()
    kept = between(run, 5, 26).make_statistics()
    # The first step of object 5 has lost the rows of object 4, that of 20 needs those of 19.
    assert sorted(of_data(read_keys)) == [keys[5], *keys[19:]]
    read_keys.clear()
    assert between(run, 5, 26).make_statistics() == kept
    assert not of_data(read_keys)


def test_nothing_is_kept_beside_the_data(rows, run_over, write) -> None:
    run = run_over(write(rows()))
    before = run.store.list_objects()
    run.prepare()
    assert run.store.list_objects() == before
    assert all(info.key.startswith("stats/") for info in run.checkpoints.list_objects())


def test_another_version_of_an_object_is_read_again(
    rows, run_over, write, chunk_of, read_keys
) -> None:
    run = run_over(write(rows())).prepare()
    file = chunk_of(run.folder, 5)
    chunk = pd.read_parquet(file)
    chunk["cpu_user_pct"] *= 2
    chunk.to_parquet(file)
    (run.folder / "server_metrics_partitioned/chunk_manifest.json").unlink()
    before = run.statistics
    read_keys.clear()
    run.plan = run.make_plan()
    read_keys.clear()
    after = run.make_statistics()
    assert of_data(read_keys) == [run.plan.objects[5].key]
    assert after.targets != before.targets


@pytest.mark.parametrize(
    "change",
    [
        {"targets": ("mem_used_pct",)},
        {"rules_of_data": {"servers": {"exclude": ("srv1",)}}},
        {"rules_of_data": {"columns": ({"name": "mem_used_pct", "factor": "100"},)}},
    ],
    ids=["targets", "servers", "units"],
)
def test_records_of_another_reading_are_not_taken(rows, run_over, write, read_keys, change) -> None:
    run = run_over(write(rows())).prepare()
    read_keys.clear()
    other = run_over(run.folder, **change).prepare()
    assert len(of_data(read_keys)) >= len(run.plan.objects[: run.plan.split.validation_end])
    assert other.statistics != run.statistics


def test_records_with_other_columns_are_not_taken(rows, run_over, write, chunk_of) -> None:
    """A run that begins earlier, where a column was not recorded yet, keeps records without it."""
    run = run_over(write(rows(chunks=26)))
    for index in range(5):
        file = chunk_of(run.folder, index)
        pd.read_parquet(file).drop(columns="load_average").to_parquet(file)
    (run.folder / "server_metrics_partitioned/chunk_manifest.json").unlink()
    without = between(run, 0, 20).make_statistics()
    kept = between(run, 5, 26).make_statistics()
    run.kept_in = "elsewhere"
    assert between(run, 5, 26).make_statistics() == kept
    assert [feature.name for feature in kept.features[3:]] == ["mem_used_pct", "load_average"]
    assert [feature.name for feature in without.features[3:]] == ["mem_used_pct"]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def turned(content: bytes) -> bytes:
    at = len(content) - 9
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


@pytest.mark.parametrize("damage", [cut, turned, None], ids=["cut", "turned", "gone"])
@pytest.mark.parametrize("part", ["json", "safetensors"])
def test_a_damaged_pack_is_computed_again_and_replaced(
    rows, run_over, write, part, damage, read_keys
) -> None:
    run = run_over(write(rows())).prepare()
    (file,) = (run.checkpoints_folder / "stats").rglob(f"*.{part}")
    if damage:
        file.write_bytes(damage(file.read_bytes()))
    else:
        file.unlink()
    assert run.make_statistics() == run.statistics
    if (part, damage) != ("json", None):
        assert "computed again" in run.said[0]
    read_keys.clear()
    assert run.make_statistics() == run.statistics
    assert not of_data(read_keys)


def test_a_damaged_pack_that_may_not_be_removed_ends_no_run(
    rows, run_over, write, monkeypatch
) -> None:
    run = run_over(write(rows())).prepare()
    (file,) = (run.checkpoints_folder / "stats").rglob("*.safetensors")
    file.write_bytes(cut(file.read_bytes()))

    def refuse(self: LocalStore, keys: list[str]) -> None:
        raise StorageDenied("no right to delete")

    monkeypatch.setattr(LocalStore, "delete", refuse)
    assert run.make_statistics() == run.statistics
    assert [line for line in run.said if "not kept for later runs: no right to delete" in line]


def test_many_small_objects_are_few_packs(rows, run_over, write, monkeypatch) -> None:
    monkeypatch.setattr(record_cache, "MOST_RECORDS", 7)
    run = run_over(write(rows())).prepare()
    kept = [info.key for info in run.checkpoints.list_objects()]
    assert len(kept) == 2 * 3  # 18 objects of training and validation
    assert run.make_statistics() == run.statistics
    assert [info.key for info in run.checkpoints.list_objects()] == kept


def test_a_pack_holds_what_was_put_in() -> None:
    names = ("\N{SNOWMAN}", "../../etc", 'a"b\\n', "x" * 3000)
    rng = np.random.default_rng(0)
    servers, values = rng.integers(0, 4, 500), rng.lognormal(-5, 8, 500)
    form = RecordForm(
        cadence_seconds=5,
        features=("mem_used_pct",),
        targets=("cpu_user_pct",),
        has_status=True,
        has_profile=True,
    )
    full = ObjectRecord(
        servers=names,
        profiles=("", "database", "", "\N{SNOWMAN}"),
        states=("healthy", "idle"),
        rows=500,
        oddities={"late": 3},
        observed_SB=rng.integers(0, 256, (4, 3), dtype=np.uint8),
        features=Moments.of_columns([values], 1),
        targets=(TargetRecord.of(servers, values, 4),),
    )
    nothing = np.empty(0)
    empty = ObjectRecord(
        servers=(),
        profiles=(),
        states=(),
        rows=0,
        oddities={},
        observed_SB=np.empty((0, 3), dtype=np.uint8),
        features=Moments.none(1),
        targets=(TargetRecord.of(nothing.astype(np.int64), nothing, 0),),
    )
    times = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
    pinned = PinnedObject(key="k", size=1, etag="e", start=times[0], end=times[1])
    index, content = packed(form, [(pinned, None, full), (pinned, None, empty)])
    for before, after in zip((full, empty), unpacked(index, content), strict=True):
        assert flat(after) == flat(before)
    with pytest.raises(DamagedPackError, match="another digest"):
        unpacked(index, content[:-1] + b"?")


def flat(value: object) -> object:
    """Returns dataclasses and arrays as what `==` compares."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: flat(getattr(value, field.name)) for field in fields}
    if isinstance(value, np.ndarray):
        return value.shape if not value.size else value.tolist()
    return [flat(part) for part in value] if isinstance(value, tuple) else value


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_what_is_kept_changes_no_bit(
    rows, run_over, write_to, tmp_path_factory, data: st.DataObject
) -> None:
    """Whichever objects come from packs of whatever size, and whichever are read."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    frame = rows(servers=[f"s{n}" for n in range(data.draw(st.integers(1, 6)))], status=True)
    frame = frame[rng.random(len(frame)) > 0.02]
    frame.loc[rng.random(len(frame)) < 0.1, "cpu_user_pct"] = 0.0
    run = run_over(write_to(frame, tmp_path_factory.mktemp("rows")), seed=1).prepare()
    folder = run.checkpoints_folder / "stats"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_cache, "MOST_RECORDS", data.draw(st.integers(1, 9), "pack"))
        run.kept_in = "packs"
        assert run.make_statistics() == run.statistics
        folder = run.checkpoints_folder / "stats"
        for index in sorted(folder.rglob("*.json")):
            if data.draw(st.booleans(), index.name[:15]):
                index.unlink()
                index.with_suffix(".safetensors").unlink()
        assert run.make_statistics() == run.statistics
    assert not run.said


def test_large_objects_are_decoded_one_at_a_time(rows, run_over, write, monkeypatch) -> None:
    run = run_over(write(rows())).prepare()
    running, most = 0, []
    lock = threading.Lock()
    make = survey.record_of

    def counted(*arguments: object) -> ObjectRecord:
        nonlocal running
        with lock:
            running += 1
            most.append(running)
        time.sleep(0.01)
        record = make(*arguments)
        with lock:
            running -= 1
        return record

    monkeypatch.setattr(survey, "record_of", counted)
    run.kept_in = "two at a time"
    assert run.make_statistics() == run.statistics
    assert max(most) == 2
    most.clear()
    monkeypatch.setattr(survey, "LARGE_BYTES", 10)
    run.kept_in = "one at a time"
    assert run.make_statistics() == run.statistics
    assert max(most) == 1
