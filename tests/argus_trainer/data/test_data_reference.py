"""pytorch-forecasting's own dataset, loaded from our pickle, is the oracle of our batches."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytorch_forecasting import TimeSeriesDataSet
from pytorch_forecasting.data.encoders import softplus_inv
from torch import Tensor

from argus_trainer.data.batch import Batch
from argus_trainer.data.decode import ChunkFile
from argus_trainer.data.frame import rows_of_window
from argus_trainer.data.inputs import softplus_inverse
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.data.rules import Rules
from argus_trainer.data.windows import object_steps

pytestmark = pytest.mark.filterwarnings(
    # pandas hands the stock class read-only arrays, which it only reads.
    "ignore:The given NumPy array is not writ:UserWarning"
)


def stock_batch(run, dataset, window_id: int) -> tuple[dict[str, object], object]:
    """Returns what a consumer of the bundle gets for one window: pickle and rows, no Argus."""
    reference = fitted_dataset(run.statistics, run.model, dataset.sample_frame())
    parameters = pickle.loads(pickle.dumps(reference.get_parameters()))
    stock = TimeSeriesDataSet.from_parameters(parameters, dataset.frame(window_id), predict=True)
    x, (y, _) = next(iter(stock.to_dataloader(train=False, batch_size=1)))
    return x, y


def listed(value: object) -> list[Tensor]:
    return list(value) if isinstance(value, list) else [value]


def assert_equal_to_the_bit(batch: Batch, row: int, x: dict[str, object], y: object) -> None:
    assert list(batch.x) == list(x)
    pairs = [(batch.x[key], x[key], key) for key in x] + [(batch.y, y, "y")]
    for ours, stock, key in pairs:
        if key != "y":
            assert isinstance(ours, list) == isinstance(stock, list), key
        for our, their in zip(listed(ours), listed(stock), strict=True):
            assert our.dtype == their.dtype, key
            assert our[row : row + 1].shape == their.shape, key
            assert torch.equal(our[row : row + 1], their), key


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking files takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_batches_equal_the_stock_class_to_the_bit(
    rows, write_to, run_over, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    names = ["ppdb1", "ppweb1", "srv1", "ppml7"][: data.draw(st.integers(1, 4), "servers")]
    metrics = ["cpu_user_pct", "mem_used_pct", "load_average", "swap_used_pct"]
    targets = metrics[: data.draw(st.integers(1, 3), "targets")]
    frame = rows(
        servers=names,
        metrics=metrics,
        status=data.draw(st.booleans(), "status"),
        seed=data.draw(st.integers(0, 999), "seed"),
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 9), "gaps"))
    frame = frame[rng.random(len(frame)) > data.draw(st.sampled_from([0.0, 0.03]), "lost")]
    # Zeros are where the inverse of softplus has no value.
    frame.loc[rng.random(len(frame)) < 0.1, "cpu_user_pct"] = 0.0
    run = run_over(
        write_to(frame, tmp_path_factory.mktemp("rows")),
        targets=targets,
        encoder=data.draw(st.integers(2, 30), "encoder"),
        decoder=data.draw(st.integers(1, 12), "decoder"),
    ).prepare()
    dataset = run.dataset()
    first = next(dataset.training_batches(0))
    (*_, last) = dataset.validation_batches()
    for batch in (first, last):
        row = data.draw(st.integers(0, len(batch.window_ids) - 1), "row")
        x, y = stock_batch(run, dataset, int(batch.window_ids[row]))
        assert_equal_to_the_bit(batch, row, x, y)


def test_the_stock_class_finds_the_same_windows(prepared, rows) -> None:
    frame = rows(servers=["a", "b"])
    rng = np.random.default_rng(5)
    run = prepared(frame[rng.random(len(frame)) > 0.05], encoder=20, decoder=5)
    dataset = run.dataset()
    ours = {int(w) for batch in dataset.training_batches(0) for w in batch.window_ids}
    reference = fitted_dataset(run.statistics, run.model, dataset.sample_frame())
    chunks = [
        (
            ChunkFile(pinned.key, run.store.get(pinned.key), Rules.of(run.data)).columns(
                ("mem_used_pct", "load_average", "cpu_user_pct"), status=False, profile=False
            ),
            object_steps(pinned, 600),
        )
        for pinned in run.plan.objects[: run.plan.split.train_end]
    ]
    first, last = chunks[0][1][0], chunks[-1][1][1] - 1
    whole = pd.concat(
        [rows_of_window(chunks, run.statistics, name, first, last) for name in ("a", "b")],
        ignore_index=True,
    )
    stock = TimeSeriesDataSet.from_dataset(reference, whole, stop_randomization=True)
    index = stock.decoded_index
    codes = index["server_name"].map({"a": 0, "b": 1})
    found = set(((codes.to_numpy(dtype=np.int64) << 40) + index["time_idx_last"]).tolist())
    # The stock class has no rule on gaps: it finds these and others.
    assert ours < found


def test_every_column_that_is_there_is_an_input_of_the_stock_class(prepared, rows) -> None:
    run = prepared(rows(status=True), targets=["load_average", "cpu_user_pct"])
    stock = fitted_dataset(run.statistics, run.model, run.dataset().sample_frame())
    assert stock.reals == [
        "load_average_center",
        "load_average_scale",
        "cpu_user_pct_center",
        "cpu_user_pct_scale",
        "hour",
        "day_of_week",
        "is_weekend",
        "relative_time_idx",
        "mem_used_pct",
        "load_average",
        "cpu_user_pct",
    ]
    assert stock.categoricals == ["profile", "status"]
    assert "server_name" not in stock.categoricals


def test_a_server_that_training_never_saw_gets_the_scale_of_the_fleet(prepared) -> None:
    run = prepared()
    dataset = run.dataset()
    reference = fitted_dataset(run.statistics, run.model, dataset.sample_frame())
    frame = dataset.sample_frame().assign(server_name="new", profile="new")
    with pytest.warns(UserWarning, match="unknown classes"):
        stock = TimeSeriesDataSet.from_dataset(
            reference, frame, predict=True, stop_randomization=True
        )
    x, _ = next(iter(stock.to_dataloader(train=False, batch_size=1)))
    fleet = run.statistics.targets[0].fleet
    expected = torch.tensor([[fleet.center, fleet.scale]], dtype=torch.float32)
    assert torch.equal(x["target_scale"], expected)
    assert (x["encoder_cat"] == 0).all()


@pytest.mark.parametrize("name", ["ppweb7", "ppml7"], ids=["known profile", "unknown profile"])
def test_a_window_of_a_server_that_training_never_saw_equals_the_stock_class(
    prepared, rows, name
) -> None:
    frame = rows(servers=["ppdb1", "ppweb1"], status=True)
    late = frame["timestamp"] >= frame["timestamp"].min() + pd.Timedelta(hours=28)
    newcomer = frame[late & (frame["server_name"] == "ppdb1")].assign(server_name=name)
    run = prepared(pd.concat([frame, newcomer]), targets=["cpu_user_pct", "load_average"])
    dataset = run.dataset()
    (*_, batch) = dataset.validation_batches()
    (row, *_) = np.flatnonzero(batch.window_ids >> 40 == 2)
    with pytest.warns(UserWarning, match="unknown classes"):
        x, y = stock_batch(run, dataset, int(batch.window_ids[row]))
    assert_equal_to_the_bit(batch, int(row), x, y)


def test_states_that_training_never_saw_are_unknown(prepared, rows) -> None:
    frame = rows(status=True)
    late = frame["timestamp"] >= frame["timestamp"].min() + pd.Timedelta(hours=28)
    frame.loc[late, "status"] = "never_seen"
    run = prepared(frame)
    (*_, batch) = run.dataset().validation_batches()
    assert (batch.x["decoder_cat"][:, :, 1] == 0).all()


def test_the_inverse_of_softplus_is_the_stock_one() -> None:
    values = np.concatenate([np.geomspace(1e-9, 50, 5000), [20.0, 20.0000001]])
    ours = softplus_inverse(values, 1e-9)
    stock = softplus_inv(torch.from_numpy(values)).numpy()
    # numpy and torch may differ in the last bit of a double; the model sees float32.
    assert np.allclose(ours, stock, rtol=1e-14, atol=1e-15)
    assert (ours.astype(np.float32) == stock.astype(np.float32)).mean() > 0.9999
