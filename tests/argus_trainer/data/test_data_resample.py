"""`data.cadenceSeconds`: rows of any times become steps, however they were cut into files."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argus_contract.data_spec import DataRules
from argus_contract.plan import PinnedObject
from argus_trainer.data.chunk_reader import ChunkReader, Sources
from argus_trainer.data.decode import ChunkFile, Columns
from argus_trainer.data.rules import Rules
from argus_trainer.errors import ConfigurationError

START = datetime(2026, 3, 2, tzinfo=UTC)
METRICS = ("cpu_user_pct", "load_average", "mem_used_pct", "swap_used_pct", "net_in_mb_s")
AGGREGATES = ("Mean", "Last", "Max", "Min", "Sum")
CADENCE = 60
RULES = Rules.of(
    DataRules.model_validate(
        {
            "cadenceSeconds": CADENCE,
            "columns": [
                {"name": name, "aggregate": aggregate}
                for name, aggregate in zip(METRICS, AGGREGATES, strict=True)
            ],
        }
    )
)


class Bucket:
    """Rows cut into objects, and what a reader makes of them."""

    def __init__(self, rules: Rules = RULES) -> None:
        self._rules = rules
        self.objects: list[PinnedObject] = []
        self._contents: dict[str, bytes] = {}
        self.fetched: list[str] = []

    def put(self, rows: pd.DataFrame, start: float, end: float) -> None:
        """Adds an object of the seconds [start, end) since START."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), sink)
        key = f"{len(self.objects)}"
        self._contents[key] = sink.getvalue().to_pybytes()
        self.objects.append(
            PinnedObject(
                key=key,
                size=1,
                etag="x",
                start=START + timedelta(seconds=start),
                end=START + timedelta(seconds=end),
            )
        )

    def fetch(self, pinned: PinnedObject) -> bytes:
        self.fetched.append(pinned.key)
        return self._contents[pinned.key]

    def reader(self) -> ChunkReader:
        return ChunkReader(
            "bucket", self.objects, self._rules, self.fetch, METRICS, status=True, profile=False
        )

    def steps(self, order: list[int] | None = None) -> pd.DataFrame:
        """Returns the steps of all objects, read in this order, by server and time."""
        reader = self.reader()
        frames = []
        for index in range(len(self.objects)) if order is None else order:
            columns = reader.columns(index, reader.open(index, self._contents[f"{index}"]))
            assert columns.status is not None
            frame = pd.DataFrame(columns.values, columns=list(METRICS))
            frame["second"] = columns.micros // 1_000_000 - int(START.timestamp())
            frame["server"] = [columns.servers.values[c] for c in columns.servers.codes]
            frame["state"] = [(*columns.status.values, None)[c] for c in columns.status.codes]
            frames.append(frame)
        whole = pd.concat(frames, ignore_index=True).sort_values(["server", "second"])
        assert not whole.duplicated(["server", "second"]).any()
        return whole.reset_index(drop=True)


def rows_of(seed: int, count: int, seconds: int) -> pd.DataFrame:
    """Returns rows in no order, some sent twice, some without values."""
    rng = np.random.default_rng(seed)
    micros = rng.integers(0, seconds * 4, count) * 250_000
    frame = pd.DataFrame(
        {
            "timestamp": pd.Timestamp(START) + pd.to_timedelta(micros, "us"),
            "server_name": rng.choice(["a", "b", "c"], count),
            "status": rng.choice(np.array(["idle", "offline", None]), count),
        }
    )
    for metric in METRICS:
        values = rng.normal(size=count) * 10.0 ** rng.integers(-6, 6, count)
        frame[metric] = np.where(rng.random(count) < 0.2, np.nan, values)
    return frame


def expected(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the steps as pandas gathers them."""
    single = rows.drop_duplicates(["server_name", "timestamp"], keep="last")
    ordered = single.sort_values("timestamp", kind="stable")
    second = (ordered["timestamp"] - pd.Timestamp(START)) / pd.Timedelta(seconds=1)
    ordered["second"] = (np.ceil(second / CADENCE) * CADENCE).astype(np.int64)
    how = {
        name: (lambda values: values.sum(min_count=1)) if aggregate == "Sum" else aggregate.lower()
        for name, aggregate in zip(METRICS, AGGREGATES, strict=True)
    }
    steps = ordered.groupby(["server_name", "second"]).agg({**how, "status": "last"})
    return steps.reset_index().rename(columns={"server_name": "server", "status": "state"})


def one_file(rows: pd.DataFrame, seconds: int) -> Bucket:
    bucket = Bucket()
    bucket.put(rows, 0, seconds)
    return bucket


def test_a_step_gathers_the_rows_up_to_and_with_its_end() -> None:
    times = [0.0, 0.25, 60.0, 60.000001, 119.75, 120.0]
    rows = pd.DataFrame(
        {
            "timestamp": [START + timedelta(seconds=second) for second in times],
            "server_name": "a",
            "status": ["s0", "s1", "s2", None, "s4", None],
            **{metric: [0.0, 1.0, 3.0, 5.0, np.nan, 7.0] for metric in METRICS},
        }
    )
    steps = one_file(rows, 180).steps()
    assert steps["second"].tolist() == [0, 60, 120]
    assert steps["state"].tolist() == ["s0", "s2", "s4"]
    assert steps[list(METRICS)].to_numpy().tolist() == [
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [2.0, 3.0, 3.0, 1.0, 4.0],
        [6.0, 7.0, 7.0, 5.0, 12.0],
    ]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 400))
def test_steps_are_those_of_pandas(seed: int, count: int) -> None:
    rows = rows_of(seed, count, 600)
    steps = one_file(rows, 660).steps()
    wanted = expected(rows)[steps.columns]
    pd.testing.assert_frame_equal(steps, wanted, check_dtype=False, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_the_same_rows_in_other_files_give_the_same_steps(data: st.DataObject) -> None:
    seconds = 600
    rows = rows_of(data.draw(st.integers(0, 2**32)), data.draw(st.integers(1, 300)), seconds)
    whole = one_file(rows, seconds + CADENCE).steps()
    cuts = data.draw(st.sets(st.sampled_from(range(CADENCE, seconds + CADENCE, CADENCE))))
    borders = [0, *sorted(cuts), seconds + CADENCE]
    bucket = Bucket()
    since = (rows["timestamp"] - pd.Timestamp(START)) / pd.Timedelta(seconds=1)
    for start, end in pairwise(borders):
        part = rows[(since >= start) & (since < end)]
        # Several files may share their time: any split of the rows that keeps their order.
        files = data.draw(st.integers(1, 3))
        at = sorted(data.draw(st.integers(0, len(part))) for _ in range(files - 1))
        for first, stop in pairwise([0, *at, len(part)]):
            bucket.put(part.iloc[first:stop], start, end)
    # To the bit, in order and in any other order.
    pd.testing.assert_frame_equal(bucket.steps(), whole, check_exact=True, check_dtype=False)
    bucket.fetched.clear()
    order = data.draw(st.permutations(range(len(bucket.objects))))
    pd.testing.assert_frame_equal(bucket.steps(order), whole, check_exact=True, check_dtype=False)


def test_files_read_in_order_are_fetched_and_decoded_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = Bucket()
    for start in range(0, 600, 120):
        for seed in range(3):
            bucket.put(rows_of(start + seed, 20, 600), start, start + 120)
    decoded: list[str] = []
    columns = ChunkFile.columns

    def counted(file: ChunkFile, *given: Any, **options: Any) -> Columns:
        decoded.append(file.name)
        return columns(file, *given, **options)

    monkeypatch.setattr(ChunkFile, "columns", counted)
    bucket.steps()
    assert decoded == [f"bucket/{index}" for index in range(15)]
    # None was asked for beside its turn.
    assert bucket.fetched == []


def test_what_tells_no_step_alone_has_another_identity_than_what_does() -> None:
    bucket = Bucket()
    bucket.put(rows_of(0, 20, 600), 0, 120)
    alone = Sources(bucket.objects, RULES).identity(0)
    bucket.put(rows_of(1, 20, 600), 0, 120)
    bucket.put(rows_of(2, 20, 600), 120, 240)
    beside, told, after = (Sources(bucket.objects, RULES).identity(n).etag for n in range(3))
    assert len({alone.etag, beside, told, after}) == 4
    assert after.split() == ["x", "x", "x"]


def test_rows_that_do_not_count_are_counted() -> None:
    def rows(*seconds: float) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "timestamp": [START + timedelta(seconds=second) for second in seconds],
                "server_name": "a",
                "status": None,
                **dict.fromkeys(METRICS, 1.0),
            }
        )

    bucket = Bucket()
    bucket.put(rows(10, 10, 20, 130, -5, 59), 0, 120)
    bucket.put(rows(119, 130, 130, 130), 120, 240)
    reader = bucket.reader()
    first, second = (
        reader.columns(index, reader.open(index, bucket.fetch(pinned)))
        for index, pinned in enumerate(bucket.objects)
    )
    assert (first.late, first.future, first.duplicates) == (1, 1, 1)
    assert (second.late, second.future, second.duplicates) == (1, 0, 2)
    assert first.values[:, 4].tolist() == [3.0]
    assert second.values[:, 4].tolist() == [1.0]


def test_a_chunk_that_ends_inside_a_step_is_refused_by_name() -> None:
    bucket = Bucket()
    bucket.put(rows_of(0, 5, 60), 0, 90)
    with pytest.raises(
        ConfigurationError, match=r"cadenceSeconds 60: bucket/0 holds .* 2026-03-02T00:01:30Z"
    ):
        bucket.steps()
