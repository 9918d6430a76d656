"""Builders of small datasets: a test shows only what differs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from argus_contract.launch import Launch, LaunchData
from argus_contract.plan import Plan, Statistics
from argus_contract.spec import ModelSpec, TargetSpec, TrainingSpec
from argus_trainer.data.chunk_files import Chunk, chunk_end, chunk_name, write_dataset
from argus_trainer.data.dataset import Dataset
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.memory import Memory
from argus_trainer.data.plan import make_plan
from argus_trainer.data.record_cache import RecordCache
from argus_trainer.data.rules import Rules
from argus_trainer.data.statistics import make_statistics
from argus_trainer.data.windows import WindowRules
from argus_trainer.storage.local import LocalStore
from toy import toy_launch

START = datetime(2026, 3, 2, tzinfo=UTC)
CADENCE = 600
STEPS_PER_CHUNK = 12


@dataclass
class Run:
    """A dataset in a folder and what a run makes of it."""

    folder: Path
    targets: Sequence[str] = ("cpu_user_pct",)
    encoder: int = 6
    decoder: int = 3
    batch_size: int = 8
    block_chunks: int = 2
    mix_width: int = 2
    seed: int = 42
    stride: int = 1
    rules_of_data: dict[str, object] = field(default_factory=dict)
    """Fields of `data` beside the uri."""
    kept_in: str = "checkpoints"
    said: list[str] = field(default_factory=list)
    """What the cache of records had to say."""
    plan: Plan = field(init=False)
    statistics: Statistics = field(init=False)

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.folder)

    @property
    def model(self) -> ModelSpec:
        return ModelSpec(
            encoder_length=self.encoder,
            prediction_length=self.decoder,
            targets=tuple(TargetSpec(name=name) for name in self.targets),
        )

    @property
    def training(self) -> TrainingSpec:
        return TrainingSpec(batch_size=self.batch_size, seed=self.seed, window_stride=self.stride)

    @property
    def data(self) -> LaunchData:
        return LaunchData(uri=str(self.folder), **self.rules_of_data)

    @property
    def rules(self) -> WindowRules:
        return WindowRules.of(self.model, self.data, self.training)

    def launch(self) -> Launch:
        return toy_launch(self.data, "unused", model=self.model, training=self.training)

    def make_plan(self) -> Plan:
        plan = make_plan(
            self.store, self.launch(), created_at=START, bundle_name="tft_model_20260301_000000"
        )
        return plan.model_copy(
            update={"block_chunks": self.block_chunks, "mix_width": self.mix_width}
        )

    @property
    def checkpoints_folder(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-{self.kept_in}")

    @property
    def checkpoints(self) -> LocalStore:
        return LocalStore(self.checkpoints_folder)

    def make_statistics(self, **options: Any) -> Statistics:
        """`options` go to the function of the same name; unless they hold one, with the cache of
        records that it has in a cluster."""
        kept = RecordCache(self.checkpoints, self.data, self.model, say=self.said.append)
        with Fetcher(self.store, max_bytes=1 << 20) as fetcher:
            return make_statistics(
                fetcher,
                self.plan,
                self.data,
                self.model,
                self.training,
                check=lambda: None,
                **{"cache": kept, **options},
            )

    def prepare(self) -> "Run":
        self.plan = self.make_plan()
        self.statistics = self.make_statistics()
        return self

    @property
    def memory(self) -> Memory:
        return Memory.of(self.plan, self.statistics, self.rules, self.batch_size)

    def dataset(self, **options: object) -> Dataset:
        """Without `shares`: with the recommended memory."""
        shares = self.memory.shares(self.memory.recommended)
        arguments = {"shares": shares, "reading": Rules.of(self.launch().data)} | options
        return Dataset(
            self.store, self.plan, self.statistics, self.rules, self.training, **arguments
        )


Rows = Callable[..., pd.DataFrame]
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def rows() -> Rows:
    return make_rows


def make_rows(
    *,
    servers: Sequence[str] = ("ppdb1", "ppweb1", "srv1"),
    chunks: int = 20,
    metrics: Sequence[str] = ("cpu_user_pct", "mem_used_pct", "load_average"),
    seed: int = 0,
    status: bool = False,
) -> pd.DataFrame:
    """Returns one row for each server and step, values in the range of percentages."""
    rng = np.random.default_rng(seed)
    steps = chunks * STEPS_PER_CHUNK
    times = [START + timedelta(seconds=CADENCE * step) for step in range(steps)]
    frame = pd.DataFrame(
        {
            "timestamp": np.repeat(times, len(servers)),
            "server_name": list(servers) * steps,
        }
    )
    if status:
        frame["status"] = rng.choice(["healthy", "idle", "offline"], len(frame))
    for metric in metrics:
        level = rng.uniform(0.02, 60, len(servers))
        frame[metric] = np.tile(level, steps) * rng.uniform(0.5, 1.5, len(frame))
    return frame


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Returns a function that writes rows as a dataset and names its folder."""

    def write_rows(frame: pd.DataFrame, folder: str = "dataset") -> Path:
        return write_frame(frame, tmp_path / folder)

    return write_rows


def write_frame(frame: pd.DataFrame, folder: Path) -> Path:
    opening = pd.to_datetime(frame["timestamp"]).dt.floor("2h")
    parts = [(start.to_pydatetime(), part) for start, part in frame.groupby(opening)]
    write_dataset(
        LocalStore(folder),
        (
            Chunk(
                start=start,
                end=chunk_end(start),
                table=pa.Table.from_pandas(part, preserve_index=False),
            )
            for start, part in parts
        ),
        names=[chunk_name(start) for start, _ in parts],
        cadence_seconds=CADENCE,
        metadata={},
    )
    return folder


def chunk_path(folder: Path, index: int) -> Path:
    return sorted(folder.glob("server_metrics_partitioned/*.parquet"))[index]


@pytest.fixture
def prepared(write: Write) -> Callable[..., Run]:
    """Returns a function that writes rows and makes plan and statistics of a run over them."""

    def prepare(frame: pd.DataFrame | None = None, **options: object) -> Run:
        return Run(write(make_rows() if frame is None else frame), **options).prepare()

    return prepare


@pytest.fixture(scope="session")
def run_over() -> type[Run]:
    return Run


@pytest.fixture
def chunk_of() -> Callable[[Path, int], Path]:
    return chunk_path


@pytest.fixture(scope="session")
def write_to() -> Callable[[pd.DataFrame, Path], Path]:
    return write_frame
