"""Statistics come from training rows alone and fit what the model will see."""

import numpy as np
import pandas as pd
import pytest
from pytorch_forecasting import GroupNormalizer
from sklearn.preprocessing import StandardScaler

from argus_trainer.data import window_count
from argus_trainer.data.inputs import softplus_inverse
from argus_trainer.data.record import TargetRecord
from argus_trainer.data.scaling import STOCK_EPSILON, TargetScaling
from argus_trainer.errors import DataError

TRAIN_ROWS = 14 * 12


def of_training(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the first 14 of 20 chunks."""
    return frame[frame["timestamp"] < frame["timestamp"].min() + pd.Timedelta(hours=28)]


def test_features_are_standardised_over_the_fleet(prepared, rows) -> None:
    frame = rows()
    statistics = prepared(frame).statistics
    train = of_training(frame)
    scalers = {feature.name: feature.scaler for feature in statistics.features}
    assert list(scalers) == ["hour", "day_of_week", "is_weekend", "mem_used_pct", "load_average"]
    for name in ("mem_used_pct", "load_average"):
        assert scalers[name].center == pytest.approx(train[name].mean(), rel=1e-12)
        assert scalers[name].scale == pytest.approx(train[name].std(ddof=0), rel=1e-12)


def test_targets_are_standardised_per_server_after_the_inverse_softplus(prepared, rows) -> None:
    frame = rows()
    statistics = prepared(frame).statistics
    (target,) = statistics.targets
    train = of_training(frame).set_index("server_name")["cpu_user_pct"]
    for name, scaler in zip(statistics.servers, target.servers, strict=True):
        values = train.loc[name].to_numpy()
        inverse = softplus_inverse(values, target.resolution)
        assert scaler.center == pytest.approx(inverse.mean(), rel=1e-12)
        assert scaler.scale == pytest.approx(inverse.std(ddof=1) + STOCK_EPSILON, rel=1e-12)


def test_scalers_equal_those_that_the_stock_classes_fit(prepared, rows) -> None:
    frame = rows(servers=[f"srv{n}" for n in range(5)], seed=3)
    statistics = prepared(frame, targets=["cpu_user_pct", "load_average"]).statistics
    train = of_training(frame)
    for target in statistics.targets:
        stock = GroupNormalizer(groups=["server_name"], transformation="softplus")
        stock.fit(train[target.name], train)
        assert target.resolution < train[target.name].min()
        ours = pd.DataFrame([s.model_dump() for s in target.servers], index=statistics.servers)
        theirs = stock.norm_.loc[list(statistics.servers), ["center", "scale"]]
        assert np.allclose(ours.to_numpy(), theirs.to_numpy(), rtol=1e-6, atol=0)
    stock = StandardScaler().fit(train[["mem_used_pct"]])
    ours = statistics.features[3].scaler
    assert (ours.center, ours.scale) == pytest.approx((stock.mean_[0], stock.scale_[0]), rel=1e-6)


def test_no_validation_row_moves_a_scaler(prepared, rows, run_over, write_to, tmp_path) -> None:
    frame = rows(status=True)
    late = frame["timestamp"] >= frame["timestamp"].min() + pd.Timedelta(hours=28)
    changed = frame.copy()
    changed.loc[late, ["cpu_user_pct", "mem_used_pct", "load_average"]] *= 100
    changed.loc[late, "status"] = "never_seen"
    newcomer = changed[late & (changed["server_name"] == "srv1")].assign(server_name="new")
    a = prepared(frame).statistics
    other = write_to(pd.concat([changed, newcomer]), tmp_path / "other")
    b = run_over(other).prepare().statistics
    assert b.unseen_servers == ("new",)
    assert b.notes == (
        "1 servers of the validation part (48 rows) that training never saw: they have the "
        "fleet's scale",
        "1 states of the validation part that training never saw: unknown to it (never_seen)",
    )
    ignored = {"plan_digest": "", "notes": (), "unseen_servers": (), "validation_blocks": ()}
    assert b.model_copy(update=ignored) == a.model_copy(update=ignored)
    # The same change one chunk earlier does move them.
    early = frame["timestamp"] >= frame["timestamp"].min() + pd.Timedelta(hours=26)
    frame.loc[early, "mem_used_pct"] *= 100
    c = run_over(write_to(frame, tmp_path / "early")).prepare().statistics
    assert c.features != a.features


def test_windows_of_a_large_fleet_are_counted_some_servers_at_a_time(
    prepared, rows, monkeypatch
) -> None:
    frame = rows(servers=[f"s{n}" for n in range(7)])
    run = prepared(frame[np.random.default_rng(1).random(len(frame)) > 0.03])
    monkeypatch.setattr(window_count, "CELLS", 2 * 40)
    assert run.make_statistics() == run.statistics


def test_vocabularies_are_sorted(prepared, rows) -> None:
    statistics = prepared(rows(servers=["ppweb2", "ppdb1", "other"], status=True)).statistics
    assert statistics.servers == ("other", "ppdb1", "ppweb2")
    assert statistics.profiles == ("generic", "database", "web_api")
    assert statistics.states == ("healthy", "idle", "offline")


def test_a_profile_column_goes_before_the_name(prepared, rows) -> None:
    frame = rows(servers=["ppweb2", "ppdb1"])
    frame["profile"] = frame["server_name"].map({"ppweb2": "database", "ppdb1": None})
    statistics = prepared(frame).statistics
    assert statistics.profiles == ("database", "database")


def test_columns_that_are_not_there_are_no_inputs(prepared, rows) -> None:
    statistics = prepared(rows(metrics=["cpu_user_pct"])).statistics
    assert [f.name for f in statistics.features] == ["hour", "day_of_week", "is_weekend"]
    assert statistics.states == ()


def test_a_missing_target_is_named_with_what_is_there(prepared, rows) -> None:
    with pytest.raises(DataError, match="no numeric column swap_used_pct; it has cpu_user_pct"):
        prepared(rows(), targets=["cpu_user_pct", "swap_used_pct"])


def test_a_chunk_without_a_column_is_named(rows, run_over, write, chunk_of) -> None:
    run = run_over(write(rows()))
    file = chunk_of(run.folder, 5)
    pd.read_parquet(file).drop(columns="load_average").to_parquet(file)
    (run.folder / "server_metrics_partitioned/chunk_manifest.json").unlink()
    with pytest.raises(DataError, match=r"chunk_20260302_10\.parquet has no column load_average"):
        run.prepare()


def test_a_chunk_that_is_no_parquet_is_named(rows, run_over, write, chunk_of) -> None:
    run = run_over(write(rows()))
    chunk_of(run.folder, 5).write_bytes(b"not a table at all")
    (run.folder / "server_metrics_partitioned/chunk_manifest.json").unlink()
    with pytest.raises(DataError, match=r"chunk_20260302_10\.parquet is no Parquet file"):
        run.prepare()


def test_the_last_of_duplicate_rows_counts(prepared, rows, run_over, write_to, tmp_path) -> None:
    frame = rows()
    wrong = frame.iloc[:5].assign(cpu_user_pct=1e6)
    clean = prepared(frame).statistics
    doubled = run_over(write_to(pd.concat([wrong, frame]), tmp_path / "twice")).prepare()
    assert doubled.statistics.targets == clean.targets
    assert doubled.statistics.notes == ("5 duplicate rows: the last one written counts",)


def test_a_row_in_the_wrong_chunk_is_left_out(rows, run_over, write, chunk_of) -> None:
    """A row of the future in a training chunk must not reach the scalers."""
    run = run_over(write(rows()))
    file = chunk_of(run.folder, 2)
    chunk = pd.read_parquet(file)
    chunk.loc[0, "timestamp"] += pd.Timedelta(hours=40)
    chunk.loc[0, "mem_used_pct"] = 1e9
    chunk.to_parquet(file)
    (run.folder / "server_metrics_partitioned/chunk_manifest.json").unlink()
    statistics = run.prepare().statistics
    assert statistics.notes == ("1 rows from after the time of their chunk: left out",)
    assert statistics.features[3].scaler.center < 100


def test_nothing_to_learn_from_is_said(prepared, rows) -> None:
    frame = rows()
    every_fifth = frame.groupby("server_name").cumcount() % 5 == 0
    with pytest.raises(DataError, match="training part holds no window of 6\\+3 steps"):
        prepared(frame[every_fifth | (frame["timestamp"].dt.hour == 0)])


def test_values_without_a_number_are_no_values(prepared, rows) -> None:
    frame = rows()
    frame.loc[::7, "mem_used_pct"] = np.nan
    frame.loc[1::7, "mem_used_pct"] = np.inf
    statistics = prepared(frame).statistics
    finite = of_training(frame)["mem_used_pct"].replace(np.inf, np.nan)
    assert statistics.features[3].scaler.center == pytest.approx(finite.mean(), rel=1e-12)


class TestScaleOfATarget:
    """Edge cases of one target, without files."""

    @staticmethod
    def scaled(*servers: np.ndarray):
        scaling = TargetScaling("swap_used_pct")
        for code, values in enumerate(servers):
            for part in np.array_split(values, 5):
                record = TargetRecord.of(np.zeros(len(part), dtype=np.int64), part, 1)
                scaling.add(np.array([code]), record)
        return scaling.statistics(np.arange(len(servers)))

    def test_a_swap_that_was_always_zero_keeps_a_scale(self) -> None:
        target = self.scaled(np.zeros(100), np.zeros(100))
        reaction = softplus_inverse(np.array([5.0]), target.resolution)[0]
        scaler = target.servers[0]
        assert abs(reaction - scaler.center) / scaler.scale < 20

    def test_a_quiet_server_gets_a_share_of_the_usual_spread(self) -> None:
        rng = np.random.default_rng(0)
        target = self.scaled(np.full(100, 30.0), rng.uniform(20, 60, 100), rng.uniform(20, 60, 100))
        assert target.servers[0].scale > 0.05 * target.servers[1].scale

    def test_a_server_with_few_rows_takes_the_scale_of_the_fleet(self) -> None:
        rng = np.random.default_rng(0)
        target = self.scaled(np.array([90.0, 91.0]), rng.uniform(20, 60, 100))
        assert target.servers[0] == target.fleet

    def test_zeros_are_raised_to_the_resolution_of_the_metric(self) -> None:
        values = np.concatenate([np.zeros(50), np.linspace(0.02, 3, 200)])
        target = self.scaled(values)
        assert target.resolution == 0.01
        inverse = softplus_inverse(values, 0.01)
        assert target.servers[0].center == pytest.approx(inverse.mean(), rel=1e-12)
        assert target.servers[0].scale == pytest.approx(
            inverse.std(ddof=1) + STOCK_EPSILON, rel=1e-12
        )

    def test_a_stray_tiny_value_does_not_set_the_resolution(self) -> None:
        target = self.scaled(np.concatenate([[1e-12, 0.0], np.linspace(10, 50, 200)]))
        assert target.resolution == pytest.approx(1e-3)

    def test_large_units_stay_as_they_are(self) -> None:
        values = np.linspace(1e6, 9e6, 100)
        target = self.scaled(values)
        assert target.servers[0].center == pytest.approx(values.mean(), rel=1e-12)

    def test_an_error_is_measured_against_the_servers_own_spread(self) -> None:
        rng = np.random.default_rng(0)
        narrow, wide = rng.uniform(40, 60, 100), rng.uniform(0, 90, 100)
        target = self.scaled(narrow, wide)
        assert target.spreads == pytest.approx((narrow.std(), wide.std()), rel=1e-12)

    def test_an_incident_on_a_server_that_was_always_quiet_does_not_drown_the_loss(self) -> None:
        rng = np.random.default_rng(0)
        all_quiet = self.scaled(np.zeros(100), np.zeros(100))
        one_quiet = self.scaled(np.zeros(100), rng.uniform(0, 20, 100))
        assert all_quiet.spreads == (1.0, 1.0)
        assert 60 / one_quiet.spreads[0] < 60
