"""What a whole run makes of bad data: settled and counted, or refused with the object's name."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from argus_trainer.bundle.files import server_mapping
from argus_trainer.data.counts import estimated_counts
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.data.sample import sample_of
from argus_trainer.data.windows import SERVER_SHIFT
from argus_trainer.errors import DataError, ObjectNotFound

MANIFEST = "server_metrics_partitioned/chunk_manifest.json"


@pytest.fixture
def damaged(run_over, rows, write, chunk_of):
    """Returns a run over 20 chunks after `change` was made to the rows of one of them."""

    def damage(index: int, change, **options: object):
        run = run_over(write(rows()), **options)
        file: Path = chunk_of(run.folder, index)
        change(pd.read_parquet(file)).to_parquet(file, index=False)
        (run.folder / MANIFEST).unlink()
        return run

    return damage


def without_notes(statistics):
    return statistics.model_copy(update={"notes": (), "plan_digest": ""})


def test_a_file_without_rows_is_a_gap(damaged) -> None:
    run = damaged(5, lambda rows: rows.iloc[:0]).prepare()
    assert run.statistics.rows == 13 * 12 * 3
    assert run.statistics.notes == ("1 objects without a row: their time is a gap",)


def test_a_first_file_without_rows_leaves_the_cadence_to_the_next(damaged) -> None:
    run = damaged(0, lambda rows: rows.iloc[:0]).prepare()
    assert run.statistics.cadence_seconds == 600
    assert sum(len(batch.window_ids) for batch in run.dataset().training_batches(0)) == sum(
        block.windows for block in run.statistics.training_blocks
    )


def test_a_file_that_was_cut_off_is_named(damaged, chunk_of) -> None:
    run = damaged(5, lambda rows: rows)
    file = chunk_of(run.folder, 5)
    run.plan = run.make_plan()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\0")
    with pytest.raises(DataError, match=r"chunk_20260302_10\.parquet"):
        run.make_statistics()


def test_rows_in_any_order_are_the_same_rows(prepared, damaged) -> None:
    sound = prepared().statistics
    turned = damaged(5, lambda rows: rows.iloc[::-1], kept_in="turned").prepare().statistics
    assert without_notes(turned) == without_notes(sound)
    assert turned.notes == (
        "33 rows that stand behind a newer one of their server: they count all the same",
    )


def test_a_clock_that_jumped_is_counted(damaged) -> None:
    def jump(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[:2, "timestamp"] -= pd.Timedelta(days=9_000)
        rows.loc[3:4, "timestamp"] += pd.Timedelta(days=40)
        return rows

    run = damaged(5, jump).prepare()
    assert set(run.statistics.notes) == {
        "3 rows from before the time of their chunk: left out",
        "2 rows from after the time of their chunk: left out",
    }
    assert run.statistics.rows == 14 * 12 * 3 - 5


def test_what_is_no_row_or_no_number_is_counted(damaged) -> None:
    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        rows["timestamp"] = rows["timestamp"].astype(object)
        rows.loc[0, "timestamp"] = None
        rows.loc[[1, 2], "server_name"] = None
        rows.loc[3, "mem_used_pct"] = np.inf
        rows.loc[[5, 6], "mem_used_pct"] = [1e39, -1e300]
        rows.loc[4, "cpu_user_pct"] = None
        return rows

    assert set(damaged(5, spoil).prepare().statistics.notes) == {
        "1 rows without a time: left out",
        "2 rows without a server's name: left out",
        "3 values that are NaN, infinite or beyond what float32 holds: they count as none",
        "1 rows without a value of every target: not observed",
    }


def test_a_column_without_one_value_is_no_input_and_told(prepared, rows) -> None:
    statistics = prepared(rows().assign(mem_used_pct=None)).statistics
    assert "mem_used_pct" not in [feature.name for feature in statistics.features]
    assert statistics.notes == ("columns without one value in training, no input: mem_used_pct",)


def test_two_cadences_are_both_named(damaged) -> None:
    with pytest.raises(DataError, match=r"10\.parquet has a row every 1200 s and the dataset"):
        damaged(5, lambda rows: rows[rows["timestamp"].dt.minute % 20 == 0]).prepare()


@pytest.mark.parametrize(("minutes", "is_another"), [((0, 20, 40), False), ((0, 15, 30), True)])
def test_a_few_rows_that_lost_their_neighbours_are_no_other_cadence(
    damaged, minutes, is_another
) -> None:
    """Two hours of a server with a row each 20 minutes are gaps, with one each 15 minutes not."""

    def few(rows: pd.DataFrame) -> pd.DataFrame:
        first = rows["timestamp"].min()
        times = [first + pd.Timedelta(minutes=minute) for minute in minutes]
        return rows.iloc[:3].assign(timestamp=times, server_name="srv1")

    run = damaged(5, few)
    if is_another:
        with pytest.raises(DataError, match=r"10\.parquet has a row every 900 s and the dataset"):
            run.prepare()
    else:
        assert run.prepare().statistics.rows == 13 * 12 * 3 + 3


def every(minutes: int, *servers: str):
    """Returns what thins the rows of these servers to one in so many minutes."""

    def thin(rows: pd.DataFrame) -> pd.DataFrame:
        thinned = rows["server_name"].isin(servers)
        return rows[~thinned | (rows["timestamp"].dt.minute % minutes == 0)]

    return thin


def test_a_slower_server_among_others_is_told_with_its_own_cadence(run_over, rows, write) -> None:
    run = run_over(write(every(30, "srv1")(rows()))).prepare()
    assert run.statistics.cadence_seconds == 600
    (note,) = (line for line in run.statistics.notes if "less often" in line)
    assert note.startswith(
        "1 server recorded every 1800 s, less often than a step of 600 s (srv1; first in "
    )
    assert "and 1 of them have no window in training; set data.cadenceSeconds to 1800" in note
    assert not [line for line in run.statistics.notes if "without one window" in line]


def test_most_servers_and_not_most_rows_tell_the_cadence(run_over, rows, write) -> None:
    run = run_over(write(every(60, "ppdb1", "srv1")(rows()))).prepare()
    assert run.statistics.cadence_seconds == 3600
    assert [line for line in run.statistics.notes if "share a step with another time" in line]


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_gaps_of_any_number_are_no_slower_cadence(run_over, rows, write, kept) -> None:
    frame = rows()
    lost = (frame["server_name"] == "srv1") & (np.random.default_rng(1).random(len(frame)) > kept)
    run = run_over(write(frame[~lost])).prepare()
    assert run.statistics.cadence_seconds == 600
    assert not [line for line in run.statistics.notes if "less often" in line]


def test_a_metric_that_turns_into_text_is_named(damaged) -> None:
    run = damaged(5, lambda rows: rows.assign(mem_used_pct=rows["mem_used_pct"].astype(str)))
    with pytest.raises(DataError, match=r"10\.parquet: column mem_used_pct is (large_)?string"):
        run.prepare()


def test_other_types_and_another_order_of_columns_are_the_same_data(prepared, damaged) -> None:
    sound = prepared().statistics

    def retyped(rows: pd.DataFrame) -> pd.DataFrame:
        rows["server_name"] = rows["server_name"].astype("category")
        rows["timestamp"] = rows["timestamp"].astype("int64") // 1_000
        return rows[rows.columns[::-1]]

    other = damaged(5, retyped, kept_in="retyped").prepare().statistics
    assert without_notes(other) == without_notes(sound)
    assert other.notes == ()


def test_a_metric_that_only_later_chunks_have_is_no_input_and_told(damaged) -> None:
    run = damaged(5, lambda rows: rows.assign(swap_used_pct=1.0)).prepare()
    assert run.statistics.notes == (
        "1 times a metric that the first chunk does not have: no input",
    )


def test_a_server_with_too_few_rows_for_a_window_is_told(prepared, rows) -> None:
    frame = rows()
    late = frame["timestamp"] > frame["timestamp"].min() + pd.Timedelta(hours=1)
    run = prepared(frame[~late | (frame["server_name"] != "srv1")])
    assert run.statistics.notes == ("1 servers without one window in training: srv1",)


def test_a_chunk_of_another_fleet_is_told(damaged) -> None:
    run = damaged(16, lambda rows: rows.assign(server_name="other-" + rows["server_name"]))
    (note,) = run.prepare().statistics.notes
    assert note.startswith("3 servers of the validation part (36 rows) that training never saw")


def test_a_server_that_was_renamed_is_a_new_one_told_and_scaled_as_the_fleet(damaged) -> None:
    """Its windows never reach over the change of its name."""

    def renamed(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(server_name=rows["server_name"].replace("srv1", "srv1-new"))

    run = damaged(15, renamed).prepare()
    assert run.statistics.unseen_servers == ("srv1-new",)
    (note,) = run.statistics.notes
    assert note.startswith("1 servers of the validation part (12 rows) that training never saw")
    fleet = run.statistics.targets[0].fleet
    first = int(run.plan.objects[15].start.timestamp()) // 600
    renamed_windows = 0
    for batch in run.dataset().validation_batches():
        for window, scale in zip(batch.window_ids, batch.x["target_scale"], strict=True):
            if window >> SERVER_SHIFT == 3:
                renamed_windows += 1
                assert scale.tolist() == np.float32([fleet.center, fleet.scale]).tolist()
                assert (window & ((1 << SERVER_SHIFT) - 1)) - 8 >= first
    assert renamed_windows == 12 - 8


def test_a_server_renamed_in_training_is_two_servers_with_their_own_scales(prepared, rows) -> None:
    frame = rows()
    later = frame["timestamp"] >= frame["timestamp"].min() + pd.Timedelta(hours=12)
    frame.loc[later & (frame["server_name"] == "srv1"), "server_name"] = "srv1-new"
    run = prepared(frame)
    assert run.statistics.servers == ("ppdb1", "ppweb1", "srv1", "srv1-new")
    windows = Counter(
        int(window) >> SERVER_SHIFT
        for batch in run.dataset().training_batches(0)
        for window in batch.window_ids
    )
    assert windows[2] + windows[3] == windows[0] - 8, "no window reaches over the change"


def test_a_state_that_training_never_saw_is_unknown_and_told(prepared, rows) -> None:
    frame = rows(status=True)
    late = frame["timestamp"] >= frame["timestamp"].min() + pd.Timedelta(hours=28)
    frame.loc[late, "status"] = "on fire"
    run = prepared(frame)
    assert run.statistics.states == ("healthy", "idle", "offline")
    assert run.statistics.notes == (
        "1 states of the validation part that training never saw: unknown to it (on fire)",
    )
    (*_, batch) = run.dataset().validation_batches()
    assert (batch.x["encoder_cat"][..., 1] == 0).all()


def test_rows_of_the_far_future_in_plain_files_are_left_out_and_counted(
    rows, run_over, tmp_path
) -> None:
    sound, wrong = tmp_path / "sound", tmp_path / "wrong"
    frame = rows()
    late = frame.iloc[100:103].assign(timestamp=pd.Timestamp("2099-01-01T00:00Z"))
    for folder, parts in ((sound, [frame.drop(late.index)]), (wrong, [frame, late])):
        folder.mkdir()
        whole = pd.concat(parts)
        whole = whole[~whole.index.duplicated(keep="last")].sort_index()
        for number in range(10):
            part = whole[(whole.index >= 72 * number) & (whole.index < 72 * (number + 1))]
            part.to_parquet(folder / f"{number}.parquet", index=False)
    bad, good = run_over(wrong).prepare(), run_over(sound).prepare()
    assert without_notes(bad.statistics) == without_notes(good.statistics)
    assert bad.plan.notes == (
        "3 rows of a wrong clock, far from the others of their file: left out (first: 1.parquet "
        "of 2099-01-01 00:00:00+00:00)",
    )
    assert good.plan.notes == ()


def test_an_object_that_was_deleted_during_the_run_is_named(prepared, chunk_of) -> None:
    run = prepared()
    chunk_of(run.folder, 3).unlink()
    with pytest.raises(ObjectNotFound, match=r"06\.parquet was deleted under the run") as gone:
        list(run.dataset().training_batches(0))
    assert gone.value.exit_code == 65


def test_one_huge_object_gives_each_window_once(rows, run_over, tmp_path, monkeypatch) -> None:
    """What makes an object huge is that it is read piece by piece."""
    frame = rows(servers=["a", "b"], chunks=40)
    folder = tmp_path / "one"
    folder.mkdir()
    frame.to_parquet(folder / "all.parquet", index=False, row_group_size=100)
    for module in ("fetch", "survey", "footers"):
        monkeypatch.setattr(f"argus_trainer.data.{module}.LARGE_BYTES", 1_000)
    one = run_over(folder).prepare()
    assert {pinned.key for pinned in one.plan.objects} == {"all.parquet"}
    assert one.statistics.notes == ()
    drawn = Counter(int(w) for b in one.dataset().training_batches(0) for w in b.window_ids)
    assert set(drawn.values()) == {1}
    border = one.plan.objects[one.plan.split.train_end].start
    training = frame[frame["timestamp"] < border]
    assert len(drawn) == len(training) - 2 * 8


def test_ten_thousand_tiny_objects_are_planned_and_told_from_a_sample(run_over, tmp_path) -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    folder = tmp_path / "tiny"
    folder.mkdir()
    for number in range(10_000):
        time = start + timedelta(minutes=10 * number)
        table = pa.table(
            {"timestamp": [time], "server_name": ["a"], "cpu_user_pct": [float(number % 7)]}
        )
        pq.write_table(table, folder / f"{number:05d}.parquet", compression="none")
    run = run_over(folder, rules_of_data={"cadence_seconds": 600})
    run.plan = run.make_plan()
    assert len(run.plan.files()) == 10_000
    with Fetcher(run.store, max_bytes=1 << 20) as fetcher:
        sample = sample_of(run.plan, run.launch(), fetcher)
    counts = estimated_counts(run.plan, run.launch(), sample)
    assert counts.windows == pytest.approx(0.7 * 10_000, rel=0.02)
    assert counts.coverage == pytest.approx(1, rel=0.01)


def test_names_of_any_characters_stay_intact_to_the_bundle(prepared, rows) -> None:
    names = ["sërver/1\n", "日本 🚀", "x" * 10_000, "None", "*[a]?"]
    run = prepared(rows(servers=names))
    assert sorted(run.statistics.servers) == sorted(names)
    assert set(server_mapping(run.statistics.servers)) == set(names)
    dataset = run.dataset()
    frame = dataset.sample_frame()
    stock = fitted_dataset(run.statistics, run.model, frame)
    encoder = stock.get_parameters()["categorical_encoders"]["server_name"]
    assert set(names) < set(encoder.classes_)
    assert frame["server_name"].iloc[0] in names


def test_a_fleet_that_is_gathered_trains_as_one_that_was_recorded_so(
    run_over, rows, write, write_to, tmp_path
) -> None:
    """Rows every 200 s, gathered to 600 s, against the same means written as they are."""
    coarse = rows()
    parts = [
        coarse.assign(
            timestamp=coarse["timestamp"] - pd.Timedelta(seconds=before),
            **{name: coarse[name] + add for name in ("cpu_user_pct", "mem_used_pct")},
        )
        for before, add in ((400, -0.25), (200, 0.25), (0, 0.0))
    ]
    fine = pd.concat(parts).sort_values("timestamp", kind="stable")
    fine = fine[fine["timestamp"] >= coarse["timestamp"].min()]
    columns = [
        {"name": name, "aggregate": "Last"}
        for name in ("cpu_user_pct", "mem_used_pct", "load_average")
    ]
    gathered = run_over(
        write(fine), rules_of_data={"cadence_seconds": 600, "columns": columns}, mix_width=1
    ).prepare()
    recorded = run_over(write_to(coarse, tmp_path / "coarse"), mix_width=1).prepare()
    ignored = {"plan_digest": "", "notes": ()}
    assert gathered.statistics.model_copy(update=ignored) == recorded.statistics.model_copy(
        update=ignored
    )
    for ours, theirs in zip(
        gathered.dataset().training_batches(0), recorded.dataset().training_batches(0), strict=True
    ):
        np.testing.assert_array_equal(ours.window_ids, theirs.window_ids)
        np.testing.assert_array_equal(
            ours.x["encoder_cont"].numpy(), theirs.x["encoder_cont"].numpy()
        )
    window = int(ours.window_ids[0])
    pd.testing.assert_frame_equal(
        gathered.dataset().frame(window), recorded.dataset().frame(window), check_exact=True
    )


def test_a_chunk_with_many_gaps_has_no_other_cadence(damaged) -> None:
    run = damaged(5, lambda rows: rows[np.random.default_rng(1).random(len(rows)) < 0.3])
    assert run.prepare().statistics.cadence_seconds == 600
