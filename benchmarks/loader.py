"""Samples/s of the data engine against pytorch-forecasting's own loader, on the same data.

Both read the guide's 14 metrics with five targets, made by `argus generate`, and give batches
of 128 to a process with two threads. Ours: whole epochs of `Dataset.training_batches` with all
chunks in memory, making of blocks and order included. The stock one:
`TimeSeriesDataSet.to_dataloader`, shuffled, with the better of 0 and 2 workers. Beside them the
speed of a plain copy between buffers of a batch's size, by as many threads, together or each by
itself, whichever is faster: the share that ours reaches of it, in bytes of batches per second.
All take turns; medians over the turns.
"""

import statistics as stats
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from pytorch_forecasting import TimeSeriesDataSet

from argus_contract.launch import Launch, LaunchCheckpoint, LaunchData, LaunchOutput, LaunchStorage
from argus_contract.spec import ModelSpec, TrainingSpec
from argus_trainer.data.batch import alone
from argus_trainer.data.dataset import Dataset
from argus_trainer.data.decode import ChunkFile
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.frame import rows_of_window
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.memory import Memory
from argus_trainer.data.plan import make_plan
from argus_trainer.data.record_cache import RecordCache
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.data.rules import Rules
from argus_trainer.data.statistics import make_statistics
from argus_trainer.data.windows import WindowRules, object_steps
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.local import LocalStore
from benchmarks.report import emit

THREADS = 2
SERVERS = 20
HOURS = 168
BATCH_SIZE = 128
SHAPES = ((288, 96), (96, 24))
TURNS = 5
STOCK_BATCHES = 16
OURS_SECONDS = 0.5
MOST_EPOCHS = 1000
COPIES = 200
FETCH_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Speeds of one turn: samples/s, and bytes/s of a plain copy."""

    ours: float
    stock: dict[int, float]
    """By number of workers."""
    copy_bytes: float


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(THREADS)
    figures = {}
    with TemporaryDirectory() as folder:
        store = LocalStore(Path(folder))
        generate(store, servers=SERVERS, hours=HOURS, seed=42)
        for encoder, decoder in SHAPES:
            model = ModelSpec(encoder_length=encoder, prediction_length=decoder)
            turns, sample_bytes = measure(store, model)
            workers = max(turns[0].stock, key=lambda n: stats.median(t.stock[n] for t in turns))
            ratio = stats.median(turn.ours / turn.stock[workers] for turn in turns)
            share = stats.median(turn.ours * sample_bytes / turn.copy_bytes for turn in turns)
            figures[f"ratio_{encoder}_{decoder}"] = ratio
            # The longer window is the harder one to gather at the speed of memory.
            figures.setdefault("copy_share", share)
            print_row(encoder, decoder, turns, workers, ratio, share)
    emit("loader", figures, ("torch", "numpy", "pytorch-forecasting", "pandas"))


def print_row(
    encoder: int, decoder: int, turns: list[Turn], workers: int, ratio: float, share: float
) -> None:
    ours = stats.median(turn.ours for turn in turns)
    stock = stats.median(turn.stock[workers] for turn in turns)
    copy = stats.median(turn.copy_bytes for turn in turns)
    print(
        f"{encoder:>4}/{decoder:<3} ours {ours:>9,.0f} samples/s   stock {stock:>7,.0f} "
        f"({workers} workers)   ratio {ratio:>6.1f}   copy {copy / 1e9:>5.1f} GB/s, "
        f"reached {share:.0%}",
        flush=True,
    )


def measure(store: LocalStore, model: ModelSpec) -> tuple[list[Turn], int]:
    """Returns the turns and the bytes of one sample in a batch of ours."""
    dataset, stock = both(store, model)
    batch = next(dataset.training_batches(0))
    memory = batch.x["encoder_cont"].untyped_storage().nbytes()
    copiers = (together(memory), side_by_side(memory))
    loaders = {
        workers: stock.to_dataloader(train=True, batch_size=BATCH_SIZE, num_workers=workers)
        for workers in (0, 2)
    }
    for _ in dataset.training_batches(0):
        pass  # chunks are decoded once, as the stock class decodes them once
    turns = [
        Turn(
            ours=ours_per_second(dataset, turn),
            stock={n: stock_per_second(loader) for n, loader in loaders.items()},
            copy_bytes=COPIES * memory / min(seconds_of(copy) for copy in copiers),
        )
        for turn in range(TURNS)
    ]
    return turns, memory // BATCH_SIZE


def both(store: LocalStore, model: ModelSpec) -> tuple[Dataset, TimeSeriesDataSet]:
    """Returns our dataset and the stock one over the same training rows."""
    launch = Launch(
        namespace="local",
        name="bench",
        run_key="0" * 20,
        data=LaunchData(uri=store.uri),
        model=model,
        training=TrainingSpec(batch_size=BATCH_SIZE),
        storage=LaunchStorage(),
        checkpoint=LaunchCheckpoint(uri="unused", every_chunks=5, period_seconds=60),
        output=LaunchOutput(uri="unused"),
    )
    plan = make_plan(store, launch, created_at=datetime.now(UTC), bundle_name="bench")
    reading = Rules.of(launch.data)
    with TemporaryDirectory() as kept, Fetcher(store, max_bytes=FETCH_BYTES) as fetcher:
        found = make_statistics(
            fetcher,
            plan,
            launch.data,
            model,
            launch.training,
            cache=RecordCache(LocalStore(Path(kept)), launch.data, model, say=print),
            check=lambda: None,
        )
    rules = WindowRules.of(model, launch.data, launch.training)
    dataset = Dataset(
        store,
        plan,
        found,
        rules,
        launch.training,
        reading=reading,
        shares=Memory.of(plan, found, rules, BATCH_SIZE).shares(None),
    )
    inputs = Inputs.of(found)
    chunks = []
    for pinned in plan.objects[: plan.split.train_end]:
        file = ChunkFile(pinned.key, store.get(pinned.key), reading)
        columns = file.columns(inputs.metrics, status=inputs.has_status, profile=False)
        chunks.append((columns, object_steps(pinned, found.cadence_seconds)))
    first, last = chunks[0][1][0], chunks[-1][1][1] - 1
    frames = [rows_of_window(chunks, found, server, first, last) for server in found.servers]
    reference = fitted_dataset(found, model, dataset.sample_frame())
    whole = pd.concat(frames, ignore_index=True)
    return dataset, TimeSeriesDataSet.from_dataset(reference, whole, stop_randomization=True)


def ours_per_second(dataset: Dataset, turn: int) -> float:
    """Counts over whole epochs, as many as last as long as a turn of the stock loader."""
    samples = 0
    began = time.perf_counter()
    for epoch in count(turn * MOST_EPOCHS):
        for batch in dataset.training_batches(epoch):
            samples += len(batch.window_ids)
        if time.perf_counter() - began > OURS_SECONDS:
            break
    return samples / (time.perf_counter() - began)


def stock_per_second(loader: torch.utils.data.DataLoader[object]) -> float:
    """Counts from the second batch on: workers have started then."""
    batches = iter(loader)
    next(batches)
    began = time.perf_counter()
    taken = sum(1 for _ in islice(batches, STOCK_BATCHES))
    return taken * BATCH_SIZE / (time.perf_counter() - began)


def together(num_bytes: int) -> Callable[[], None]:
    """Returns a function that copies so many bytes COPIES times, each copy by all threads."""
    return copier(num_bytes, COPIES)


def side_by_side(num_bytes: int) -> Callable[[], None]:
    """Returns a function that makes as many copies by threads that share none of them."""
    copiers = [copier(num_bytes, COPIES // THREADS) for _ in range(THREADS)]

    def by_itself(copy: Callable[[], None]) -> None:
        with alone():
            copy()

    def copy() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(by_itself, copiers))

    return copy


def copier(num_bytes: int, times: int) -> Callable[[], None]:
    """Returns a function that copies so many bytes so often, from and to changing places."""
    sources = [torch.ones(num_bytes // 4) for _ in range(8)]
    targets = [torch.empty(num_bytes // 4) for _ in range(2)]

    def copy() -> None:
        for turn in range(times):
            targets[turn % 2].copy_(sources[turn % 8])

    return copy


def seconds_of(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
