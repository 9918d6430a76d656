"""Whole batches equal those of pytorch-forecasting's own dataset and collate, to the bit.

The stock class sees all rows at once, fills gaps by itself, and is asked for the windows that
our batch drew. What it was fitted with is ours; that its own fit is the same is a test of its own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pytorch_forecasting import GroupNormalizer, TimeSeriesDataSet
from pytorch_forecasting.data.encoders import softplus_inv
from sklearn.preprocessing import StandardScaler

from argus_trainer.data.batch import Batch
from argus_trainer.data.decode import ChunkFile
from argus_trainer.data.frame import rows_of_window
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.data.rules import Rules
from argus_trainer.data.servers import Servers
from argus_trainer.data.windows import SERVER_SHIFT, object_steps
from argus_trainer.errors import DataError

pytestmark = [
    pytest.mark.filterwarnings(
        # pandas hands the stock class read-only arrays, which it only reads.
        "ignore:The given NumPy array is not writ:UserWarning"
    ),
    pytest.mark.filterwarnings("ignore:Found [0-9]+ unknown classes:UserWarning"),
    pytest.mark.filterwarnings("ignore:Min encoder length and/or min_prediction_idx:UserWarning"),
]
NAMES = ("ppdb1", "ppweb1", "srv1", "ppml7")
METRICS = ("cpu_user_pct", "mem_used_pct", "load_average", "swap_used_pct")
TRAINING_HOURS = 28

SETTINGS = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking files takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def stock_dataset(run: Any, dataset: Any) -> TimeSeriesDataSet:
    """Returns the stock dataset over all observed rows up to the end of validation."""
    found = run.statistics
    inputs = Inputs.of(found)
    chunks = []
    for pinned in run.plan.objects[: run.plan.split.validation_end]:
        file = ChunkFile(pinned.key, run.store.get(pinned.key), Rules.of(run.data))
        columns = file.columns(inputs.metrics, status=inputs.has_status, profile=False)
        chunks.append((columns, object_steps(pinned, found.cadence_seconds)))
    first, last = chunks[0][1][0], chunks[-1][1][1] - 1
    frames = [rows_of_window(chunks, found, name, first, last) for name in Servers.of(found).names]
    reference = fitted_dataset(found, run.model, dataset.sample_frame())
    return TimeSeriesDataSet.from_dataset(
        reference, pd.concat(frames, ignore_index=True), stop_randomization=True
    )


def stock_batch(run: Any, stock: TimeSeriesDataSet, ids: np.ndarray) -> tuple[Any, Any]:
    """Returns x and y of these windows, in their order, as the stock collate gives them."""
    start, end = (stock.index[side].to_numpy() for side in ("index_start", "index_end"))
    # Not decoded: the stock class gives servers that it was not fitted on a code, and no name.
    group = stock.data["groups"][:, 0].numpy()[start]
    first, last = (stock.data["time"].numpy()[rows] for rows in (start, end))
    place = {key: row for row, key in enumerate(zip(group, first, last, strict=True))}
    groups = Servers.of(run.statistics).groups_S[ids >> SERVER_SHIFT]
    ends = ids & ((1 << SERVER_SHIFT) - 1)
    begins = ends - run.rules.window + 1
    wanted = [place[key] for key in zip(groups, begins, ends, strict=True)]
    x, (y, _) = stock._collate_fn([stock[row] for row in wanted])
    return x, y


def assert_equal_to_the_bit(batch: Batch, x: dict[str, Any], y: Any) -> None:
    assert list(batch.x) == list(x)
    for key, ours, theirs in [*((k, batch.x[k], x[k]) for k in x), ("y", batch.y, y)]:
        if key != "y":
            assert isinstance(ours, list) == isinstance(theirs, list), key
        pairs = [list(v) if isinstance(v, list | tuple) else [v] for v in (ours, theirs)]
        for our, their in zip(*pairs, strict=True):
            assert (our.dtype, our.shape) == (their.dtype, their.shape), key
            assert torch.equal(our, their), key


def rows_with_faults(
    rows: Any,
    *,
    servers: int,
    metrics: int,
    status: bool,
    lost: float,
    missing: float,
    newcomers: int,
    seed: int,
) -> pd.DataFrame:
    """Returns rows with gaps, values that are not there, zeros, and servers that come late."""
    frame = rows(servers=NAMES[:servers], metrics=METRICS[:metrics], status=status, seed=seed)
    late = frame["timestamp"] >= frame["timestamp"].min() + pd.Timedelta(hours=TRAINING_HOURS)
    of_one = frame[late & (frame["server_name"] == NAMES[0])]
    frame = pd.concat(
        [frame, *(of_one.assign(server_name=f"new{number}") for number in range(newcomers))],
        ignore_index=True,
    )
    rng = np.random.default_rng(seed)
    frame = frame[rng.random(len(frame)) >= lost].reset_index(drop=True)
    # Zeros are where the inverse of softplus has no value.
    frame.loc[rng.random(len(frame)) < 0.1, METRICS[0]] = 0.0
    for metric in METRICS[:metrics]:
        frame.loc[rng.random(len(frame)) < missing, metric] = np.nan
    return frame


@SETTINGS
@given(
    servers=st.integers(1, 4),
    metrics=st.integers(1, 4),
    targets=st.integers(1, 3),
    status=st.booleans(),
    lost=st.sampled_from([0.0, 0.02, 0.05]),
    missing=st.sampled_from([0.0, 0.02]),
    newcomers=st.integers(0, 2),
    encoder=st.integers(2, 30),
    decoder=st.integers(1, 12),
    seed=st.integers(0, 999),
)
@example(  # one server, one feature
    servers=1,
    metrics=1,
    targets=1,
    status=False,
    lost=0.0,
    missing=0.0,
    newcomers=0,
    encoder=6,
    decoder=3,
    seed=0,
)
@example(  # everything at once
    servers=4,
    metrics=4,
    targets=3,
    status=True,
    lost=0.05,
    missing=0.02,
    newcomers=2,
    encoder=12,
    decoder=5,
    seed=1,
)
def test_whole_batches_equal_the_stock_collate_to_the_bit(
    rows: Any,
    write_to: Any,
    run_over: Any,
    tmp_path_factory: pytest.TempPathFactory,
    targets: int,
    encoder: int,
    decoder: int,
    **faults: Any,
) -> None:
    frame = rows_with_faults(rows, **faults)
    run = run_over(
        write_to(frame, tmp_path_factory.mktemp("rows")),
        targets=METRICS[: min(targets, faults["metrics"])],
        encoder=encoder,
        decoder=decoder,
        batch_size=32,
    )
    try:
        run.prepare()
    except DataError as error:
        assert "window" in str(error)  # noqa: PT017 (some draws are too gappy)
        return
    dataset = run.dataset()
    stock = stock_dataset(run, dataset)
    first, *_, last = dataset.training_batches(0)
    *_, validation = dataset.validation_batches()
    for batch in (first, last, validation):
        assert_equal_to_the_bit(batch, *stock_batch(run, stock, batch.window_ids))


def of_training(frame: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """Returns the rows of the training part that were observed."""
    end = frame["timestamp"].min().floor("2h") + pd.Timedelta(hours=TRAINING_HOURS)
    return frame[frame["timestamp"] < end].dropna(subset=list(targets))


@SETTINGS
@given(
    servers=st.integers(1, 4),
    targets=st.integers(1, 3),
    lost=st.sampled_from([0.0, 0.05]),
    missing=st.sampled_from([0.0, 0.02]),
    seed=st.integers(0, 999),
)
def test_scalers_equal_what_the_stock_classes_fit(
    rows: Any,
    write_to: Any,
    run_over: Any,
    tmp_path_factory: pytest.TempPathFactory,
    servers: int,
    targets: int,
    lost: float,
    missing: float,
    seed: int,
) -> None:
    frame = rows_with_faults(
        rows,
        servers=servers,
        metrics=4,
        status=False,
        lost=lost,
        missing=missing,
        newcomers=0,
        seed=seed,
    )
    names = METRICS[:targets]
    # Below the resolution of a target ours is another fit, on purpose: these are above it.
    frame[METRICS[0]] = frame[METRICS[0]].where(frame[METRICS[0]] != 0.0, 1.5)
    folder = write_to(frame, tmp_path_factory.mktemp("rows"))
    found = run_over(folder, targets=names).prepare().statistics
    train = of_training(frame, names)
    for target in found.targets:
        assert target.resolution < train[target.name].min()
        stock = GroupNormalizer(groups=["server_name"], transformation="softplus")
        stock.fit(train[target.name], train)
        theirs = stock.norm_.loc[list(found.servers)]
        ours = pd.DataFrame([scaler.model_dump() for scaler in target.servers], theirs.index)
        assert np.allclose(ours["center"], theirs["center"], rtol=1e-6, atol=0)
        # A server that was quiet has a tenth of the usual spread within a server.
        inverse = softplus_inv(torch.tensor(train[target.name].to_numpy()))
        of_server = pd.Series(inverse).groupby(train["server_name"].to_numpy())
        within = (of_server.var(ddof=0) * of_server.count()).sum() / len(train)
        expected = np.maximum(theirs["scale"], 0.1 * np.sqrt(within))
        assert np.allclose(ours["scale"], expected, rtol=1e-6, atol=0)
    for feature in found.features:
        if feature.name in METRICS:
            known = train[[feature.name]].dropna()
            stock = StandardScaler().fit(known)
            ours = (feature.scaler.center, feature.scaler.scale)
            assert ours == pytest.approx((stock.mean_[0], stock.scale_[0]), rel=1e-6)
