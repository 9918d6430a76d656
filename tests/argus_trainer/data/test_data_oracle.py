"""Whole batches equal those of pytorch-forecasting's own dataset and collate, to the bit.

The stock class sees all rows at once, fills gaps by itself, and is asked for the windows that
our batch drew. What it was fitted with is ours; that its own fit is the same is a test of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pytorch_forecasting import EncoderNormalizer, GroupNormalizer, TimeSeriesDataSet
from pytorch_forecasting.data.encoders import MultiNormalizer, softplus_inv
from sklearn.preprocessing import StandardScaler

from argus_contract.plan import Scaler
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
    # It scales the center and scale of a window without their names.
    pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning"),
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


@pytest.fixture(scope="session")
def run_of(
    write_to: Any, run_over: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """Returns a function that makes a run over rows, in a folder of its own."""

    def make(frame: pd.DataFrame, **options: Any) -> Any:
        return run_over(write_to(frame, tmp_path_factory.mktemp("rows")), **options)

    return make


def stock_dataset(run: Any, dataset: Any, normalizer: Any = None) -> TimeSeriesDataSet:
    """Returns the stock dataset over all observed rows up to the end of validation.

    `normalizer` stands in place of that of the run's own target.
    """
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
    changed = {} if normalizer is None else {"target_normalizer": normalizer}
    return TimeSeriesDataSet.from_dataset(
        reference, pd.concat(frames, ignore_index=True), stop_randomization=True, **changed
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


def listed(value: Any) -> list[torch.Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]


def assert_equal_to_the_bit(batch: Batch, x: dict[str, Any], y: Any) -> None:
    assert list(batch.x) == list(x)
    for key, ours, theirs in [*((k, batch.x[k], x[k]) for k in x), ("y", batch.y, y)]:
        if key != "y":
            assert isinstance(ours, list) == isinstance(theirs, list), key
        for our, their in zip(listed(ours), listed(theirs), strict=True):
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
    run_of: Any,
    targets: int,
    encoder: int,
    decoder: int,
    **faults: Any,
) -> None:
    run = run_of(
        rows_with_faults(rows, **faults),
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


def above_resolution(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows without zeros: below the resolution ours is another fit, on purpose."""
    first = frame[METRICS[0]]
    return frame.assign(**{METRICS[0]: first.where(first != 0.0, 1.5)})


def of_training(frame: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """Returns the rows of the training part that were observed."""
    end = frame["timestamp"].min().floor("2h") + pd.Timedelta(hours=TRAINING_HOURS)
    return frame[frame["timestamp"] < end].dropna(subset=list(targets))


@SETTINGS
@given(
    targets=st.integers(1, 3),
    servers=st.integers(1, 4),
    metrics=st.just(len(METRICS)),
    status=st.just(False),
    lost=st.sampled_from([0.0, 0.05]),
    missing=st.sampled_from([0.0, 0.02]),
    newcomers=st.just(0),
    seed=st.integers(0, 999),
)
def test_scalers_equal_what_the_stock_classes_fit(
    rows: Any, run_of: Any, targets: int, **faults: Any
) -> None:
    frame = above_resolution(rows_with_faults(rows, **faults))
    names = METRICS[:targets]
    found = run_of(frame, targets=names).prepare().statistics
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


def windows_of(batches: Iterable[Batch], ids: np.ndarray) -> dict[str, list[torch.Tensor]]:
    """Returns x of these windows alone, in their order; each value as a list of targets."""
    parts: list[dict[str, list[torch.Tensor]]] = []
    order: list[int] = []
    for batch in batches:
        rows = np.flatnonzero(np.isin(batch.window_ids, ids))
        order += batch.window_ids[rows].tolist()
        parts.append({key: [v[rows] for v in listed(value)] for key, value in batch.x.items()})
    at = [order.index(wanted) for wanted in ids.tolist()]
    return {
        key: [torch.cat(pieces)[at] for pieces in zip(*(part[key] for part in parts), strict=True)]
        for key in parts[0]
    }


def assert_close(ours: dict[str, list[torch.Tensor]], x: dict[str, Any], within: float) -> None:
    assert list(ours) == list(x)
    for key, theirs in x.items():
        for our, their in zip(ours[key], listed(theirs), strict=True):
            assert (our.dtype, our.shape) == (their.dtype, their.shape), key
            assert torch.allclose(our, their, rtol=within, atol=within), key


@SETTINGS
@given(
    targets=st.integers(1, 3),
    servers=st.integers(1, 4),
    metrics=st.integers(3, 4),
    status=st.booleans(),
    lost=st.sampled_from([0.0, 0.02]),
    missing=st.sampled_from([0.0, 0.02]),
    newcomers=st.just(0),
    seed=st.integers(0, 999),
)
def test_with_the_scales_of_one_encoder_batches_equal_the_stock_encoder_normalizer(
    rows: Any, run_of: Any, targets: int, **faults: Any
) -> None:
    """The stock class fits each window anew; ours is told what it found, for one of each server."""
    frame = above_resolution(rows_with_faults(rows, **faults))
    run = run_of(frame, targets=METRICS[:targets], encoder=12, decoder=4, batch_size=32).prepare()
    batches = [*run.dataset().training_batches(0)]
    every = np.sort(np.concatenate([batch.window_ids for batch in batches]))
    of_server = every >> SERVER_SHIFT
    ids = np.array([every[of_server == code][faults["seed"] % 7] for code in np.unique(of_server)])
    raw = windows_of(batches, ids)["encoder_target"]
    normalizers = [EncoderNormalizer(transformation="softplus") for _ in raw]
    found = run.statistics
    told = list(found.targets)
    for place, (normalizer, values_SE) in enumerate(zip(normalizers, raw, strict=True)):
        scalers = list(told[place].servers)
        for code, values_E in zip(np.unique(of_server).tolist(), values_SE, strict=True):
            center, scale = normalizer.fit(values_E).get_parameters().tolist()
            scalers[code] = Scaler(center=center, scale=scale)
        told[place] = told[place].model_copy(update={"servers": tuple(scalers)})
    run.statistics = found.model_copy(update={"targets": tuple(told)})
    dataset = run.dataset()
    together = MultiNormalizer(normalizers) if targets > 1 else normalizers[0]
    x, _ = stock_batch(run, stock_dataset(run, dataset, together), ids)
    assert_close(windows_of(dataset.training_batches(0), ids), x, within=1e-5)


@pytest.mark.parametrize(
    ("transformation", "least", "most"),
    [("log", 3e-8, 1e-6), (None, 21.0, 97.0)],
    ids=["a metric near zero", "a metric of large numbers"],
)
def test_at_both_ends_softplus_is_the_stock_logarithm_and_the_stock_identity(
    rows: Any, run_of: Any, transformation: str | None, least: float, most: float
) -> None:
    frame = rows(servers=NAMES, metrics=METRICS)
    exponents = np.random.default_rng(3).uniform(np.log(least), np.log(most), len(frame))
    frame[METRICS[0]] = np.exp(exponents)
    run = run_of(frame, targets=METRICS[:1], batch_size=32).prepare()
    (target,) = run.statistics.targets
    train = of_training(frame, METRICS[:1])
    stock = GroupNormalizer(groups=["server_name"], transformation=transformation)
    stock.fit(train[target.name], train)
    theirs = stock.norm_.loc[list(run.statistics.servers)]
    ours = np.array([(scaler.center, scaler.scale) for scaler in target.servers])
    assert np.allclose(ours, theirs[["center", "scale"]], rtol=1e-6, atol=0)
    dataset = run.dataset()
    normalizer = fitted_dataset(run.statistics, run.model, dataset.sample_frame()).target_normalizer
    normalizer.transformation = transformation
    batch = next(dataset.training_batches(0))
    x, _ = stock_batch(run, stock_dataset(run, dataset, normalizer), batch.window_ids)
    assert_close(windows_of([batch], batch.window_ids), x, within=1e-5)
