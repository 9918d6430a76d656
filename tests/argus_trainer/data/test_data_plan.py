"""The plan: pinned objects and a split, from a listing alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from argus_trainer.errors import DataError
from argus_trainer.storage.local import LocalStore

FOLDER = "server_metrics_partitioned"


@pytest.fixture
def recorded(rows, write) -> Callable[[int], Path]:
    return lambda chunks: write(rows(servers=["a"], chunks=chunks))


def test_objects_are_pinned_in_the_order_of_time(recorded, run_over) -> None:
    folder = recorded(20)
    plan = run_over(folder).make_plan()
    listing = {info.key: info for info in LocalStore(folder).list_objects()}
    assert len(plan.objects) == 20
    assert [o.start for o in plan.objects] == sorted(o.start for o in plan.objects)
    for pinned in plan.objects:
        assert (pinned.size, pinned.etag) == (listing[pinned.key].size, listing[pinned.key].etag)


@pytest.mark.parametrize(
    ("chunks", "split"), [(20, (14, 18)), (10, (7, 9)), (5, (3, 4)), (3, (1, 2)), (50, (35, 45))]
)
def test_the_split_is_70_20_10_and_no_part_is_empty(
    recorded, run_over, chunks: int, split: tuple[int, int]
) -> None:
    plan = run_over(recorded(chunks)).make_plan()
    assert (plan.split.train_end, plan.split.validation_end) == split


def test_validation_and_holdout_are_long_enough_for_a_decoder(recorded, run_over) -> None:
    # 12 steps a chunk: a decoder of 30 steps needs three chunks; 20 % and 10 % of 10 are fewer.
    plan = run_over(recorded(10), decoder=30).make_plan()
    assert (plan.split.train_end, plan.split.validation_end) == (4, 7)


def test_too_few_chunks_say_how_many_are_needed(rows, write, run_over) -> None:
    run = run_over(write(rows(servers=["a"], chunks=12), "short"), encoder=100, decoder=30)
    with pytest.raises(DataError, match=r"holds 12 chunks; .* 100\+30 .* need at least 17"):
        run.make_plan()
    enough = run_over(write(rows(servers=["a"], chunks=17), "enough"), encoder=100, decoder=30)
    assert enough.make_plan().split.train_end == 11


@pytest.mark.parametrize("layout", ["{0}.parquet", "time_chunk={1}/part-0.parquet"])
def test_without_a_manifest_the_names_tell_the_times(
    recorded, run_over, tmp_path: Path, layout: str
) -> None:
    folder = recorded(10)
    expected = run_over(folder).make_plan()
    for file in (folder / FOLDER).glob("*.parquet"):
        target = tmp_path / "plain" / layout.format(file.stem, file.stem.removeprefix("chunk_"))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    plan = run_over(tmp_path / "plain").make_plan()
    assert [(o.start, o.end) for o in plan.objects] == [(o.start, o.end) for o in expected.objects]
    assert plan.split == expected.split


def test_a_manifest_of_another_tool_leaves_the_names_to_tell(recorded, run_over) -> None:
    folder = recorded(10)
    (folder / FOLDER / "chunk_manifest.json").write_text('{"format_version": "1.0", "chunks": []}')
    assert len(run_over(folder).make_plan().objects) == 10


def test_an_empty_prefix_is_named(run_over, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere holds no Parquet file"):
        run_over(tmp_path / "nowhere").make_plan()


def test_an_object_unlike_the_manifest_is_named(recorded, run_over, chunk_of) -> None:
    folder = recorded(10)
    chunk_of(folder, 4).write_bytes(b"short")
    with pytest.raises(DataError, match=r"chunk_20260302_08\.parquet has 5 bytes, not"):
        run_over(folder).make_plan()
    chunk_of(folder, 4).unlink()
    with pytest.raises(DataError, match=r"chunk_20260302_08\.parquet is absent"):
        run_over(folder).make_plan()


def test_a_manifest_that_cannot_be_read_is_named(recorded, run_over) -> None:
    folder = recorded(10)
    manifest = folder / FOLDER / "chunk_manifest.json"
    document = json.loads(manifest.read_text())
    for text, reason in (
        ("{", "is no JSON"),
        (json.dumps(document | {"version": 2}), "has version 2"),
        (
            json.dumps(document | {"chunks": [{"rows": "x"}]}),
            r"is broken: chunks\.0\.file: Field required; .*; and 2 more: write",
        ),
    ):
        manifest.write_text(text)
        with pytest.raises(DataError, match=reason) as refusal:
            run_over(folder).make_plan()
        assert "\n" not in str(refusal.value)


def test_the_data_version_changes_with_the_data(recorded, run_over, chunk_of) -> None:
    folder = recorded(10)
    before = run_over(folder).make_plan()
    assert run_over(folder).make_plan() == before
    file = chunk_of(folder, 4)
    file.write_bytes(file.read_bytes())  # written again: another object with the same bytes
    after = run_over(folder).make_plan()
    assert after.manifest_digest != before.manifest_digest


def test_the_configuration_is_part_of_the_plan(recorded, run_over) -> None:
    folder = recorded(10)
    one = run_over(folder).make_plan()
    assert run_over(folder, seed=7).make_plan().configuration_digest != one.configuration_digest
    assert pd.Timestamp(one.created_at) == pd.Timestamp("2026-03-02T00:00Z")


def test_one_file_of_everything_trains_on_the_rows_of_its_chunks(
    rows, run_over, tmp_path: Path
) -> None:
    tmp_path.joinpath("plain").mkdir()
    rows(chunks=20).to_parquet(tmp_path / "plain" / "all.parquet")
    run = run_over(tmp_path / "plain").prepare()
    assert len(run.plan.objects) == 10
    assert len(run.plan.files()) == 1
    assert run.statistics.rows == 14 * 12 * 3
    # Each of the entries reads the whole file: the rows of the others are no oddity.
    assert run.statistics.notes == ()
    batches = [batch.window_ids.tolist() for batch in run.dataset().training_batches(0)]
    windows = [window for batch in batches for window in batch]
    assert len(windows) == len(set(windows)) == 3 * (14 * 12 - (6 + 3) + 1)
