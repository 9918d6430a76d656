"""What a whole run makes of bad data: settled and counted, or refused with the object's name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from argus_trainer.bundle.files import server_mapping
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.errors import DataError

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
    assert run.statistics.notes == ()


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
        rows.loc[4, "cpu_user_pct"] = None
        return rows

    assert set(damaged(5, spoil).prepare().statistics.notes) == {
        "1 rows without a time: left out",
        "2 rows without a server's name: left out",
        "1 values that are NaN or infinite: they count as none",
        "1 rows without a value of every target: not observed",
    }


def test_a_column_without_one_value_is_no_input_and_told(prepared, rows) -> None:
    statistics = prepared(rows().assign(mem_used_pct=None)).statistics
    assert "mem_used_pct" not in [feature.name for feature in statistics.features]
    assert statistics.notes == ("columns without one value in training, no input: mem_used_pct",)


def test_two_cadences_are_both_named(damaged) -> None:
    with pytest.raises(DataError, match=r"10\.parquet has a row every 1200 s and the dataset"):
        damaged(5, lambda rows: rows[rows["timestamp"].dt.minute % 20 == 0]).prepare()


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
