"""What streaming costs: the first epoch from an S3 server beside the same epoch from memory.

Two questions, one run on one machine, with SeaweedFS on the loopback.

* Does a training wait for its data? An epoch of the real loop with the real network, from a
  dataset that has read nothing yet, against the same epoch from one that holds all its blocks.
  Both see the same windows in the same order; the weights after them must be equal to the bit.
* Does the fetcher get what the network and the server can give? All chunks of the plan, and the
  same number of larger objects, through `Fetcher`, against plain GETs by other clients
  with the same number of requests at a time. The fastest of them counts.

Repeats are interleaved; figures are medians of them.
"""

import asyncio
import http.client
import os
import statistics as stat
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, urlsplit

import torch
from lightning.fabric import Fabric
from obstore.store import S3Store as Obstore

from argus_contract.launch import (
    Launch,
    LaunchCheckpoint,
    LaunchData,
    LaunchOutput,
    LaunchStorage,
)
from argus_contract.layout import StepId
from argus_contract.ledger import StepManifest, TensorFile
from argus_contract.plan import PinnedObject, Plan, Statistics
from argus_contract.spec import ModelSpec, TrainingSpec
from argus_trainer.data.batch import Batch
from argus_trainer.data.dataset import Dataset
from argus_trainer.data.fetch import NUM_THREADS, Fetcher
from argus_trainer.data.memory import Memory
from argus_trainer.data.plan import make_plan
from argus_trainer.data.record_cache import RecordCache
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.data.rules import Rules
from argus_trainer.data.statistics import make_statistics
from argus_trainer.data.windows import WindowRules
from argus_trainer.model.network import build_network
from argus_trainer.process.device import make_fabric
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.local import LocalStore
from argus_trainer.storage.open import open_source, open_store
from argus_trainer.storage.store import Source
from argus_trainer.training.course import Course
from argus_trainer.training.events import EpochDone, StepDone
from argus_trainer.training.loop import Training
from argus_trainer.training.pace import Pace
from argus_trainer.training.saver import Saver
from argus_trainer.training.state import Snapshot, TrainingState
from benchmarks.report import emit

SERVERS, HOURS = 60, 120
MODEL = ModelSpec(encoder_length=96, prediction_length=24, hidden_size=32, attention_heads=4)
TRAINING = TrainingSpec(batch_size=128, epochs=1, window_stride=36, seed=7)
NUM_THREADS_OF_TORCH = 2
NUM_EPOCHS = 3
"""Repeats of the two epochs."""
NUM_ROUNDS = 7
"""Repeats of each client over all objects."""
NUM_TIMES = 5
"""Times that a client reads the chunks of the plan in one round: they are few."""
LARGER_BYTES = 1 << 20
FETCH_BYTES = 64 << 20
LIMITS = {"first_epoch_ratio": "<= 1.10", "data_wait_share": "<= 0.05", "fetch_share": ">= 0.65"}


@dataclass
class Ear:
    """Times the training part of an epoch."""

    began: float = 0.0
    ended: float = 0.0
    waits: list[float] = field(default_factory=list)

    def untrained(self, state: TrainingState) -> None:
        pass

    def epoch_started(self, epoch: int) -> None:
        self.began = time.perf_counter()

    def step_done(self, event: StepDone) -> None:
        self.ended = time.perf_counter()
        self.waits.append(event.wait_seconds)

    def epoch_done(self, event: EpochDone) -> None:
        pass

    def saved(self, manifest: StepManifest) -> None:
        pass

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class OneEpoch:
    """A dataset as the loop sees it, with a single batch to validate on: that is not measured."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._validation = [*islice(dataset.validation_batches(), 1)]

    def training_batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        return self._dataset.training_batches(epoch, first_step)

    def validation_batches(self) -> Iterator[Batch]:
        yield from self._validation


@dataclass(frozen=True)
class Run:
    """A planned run over a dataset on the server."""

    source: Source
    data: LaunchData
    plan: Plan
    statistics: Statistics

    def dataset(self, *, resident: bool) -> Dataset:
        rules = WindowRules.of(MODEL, self.data, TRAINING)
        memory = Memory.of(self.plan, self.statistics, rules, TRAINING.batch_size)
        return Dataset(
            self.source,
            self.plan,
            self.statistics,
            rules,
            TRAINING,
            reading=Rules.of(self.data),
            shares=memory.shares(None if resident else memory.recommended),
        )


def planned(uri: str, storage: LaunchStorage) -> Run:
    """Generates a fleet on the server and plans a run over it."""
    generate(open_store(uri, storage), servers=SERVERS, hours=HOURS, seed=1)
    source, data = open_source(uri, storage), LaunchData(uri=uri)
    launch = Launch(
        namespace="bench",
        name="stream",
        run_key="0" * 20,
        data=data,
        model=MODEL,
        training=TRAINING,
        storage=storage,
        checkpoint=LaunchCheckpoint(uri="unused", every_chunks=5, period_seconds=60),
        output=LaunchOutput(uri="unused"),
    )
    plan = make_plan(
        source, launch, created_at=datetime.now(UTC), bundle_name="tft_model_20260101_000000"
    )
    with TemporaryDirectory() as kept, Fetcher(source, max_bytes=64 << 20) as fetcher:
        found = make_statistics(
            fetcher,
            plan,
            data,
            MODEL,
            TRAINING,
            cache=RecordCache(LocalStore(Path(kept)), data, MODEL, say=print),
            check=lambda: None,
        )
    return Run(source=source, data=data, plan=plan, statistics=found)


def epoch(run: Run, dataset: Dataset, fabric: Fabric) -> tuple[Ear, dict[str, torch.Tensor]]:
    """Trains one epoch and returns its times and weights."""
    ear = Ear()
    reference = fitted_dataset(run.statistics, MODEL, dataset.sample_frame())
    network = build_network(reference, MODEL, TRAINING.seed)
    training = Training(
        network=network,
        source=OneEpoch(dataset),
        course=Course(
            epochs=1,
            max_steps=None,
            steps_per_epoch=run.statistics.steps_per_epoch,
            chunks=run.plan.split.train_end,
            seed=TRAINING.seed,
            learning_rate=0.001,
            target_weights=tuple(1.0 for _ in MODEL.targets),
        ),
        fabric=fabric,
        check=lambda: None,
        listener=ear,
    )
    saver = Saver(_kept, durable=None)
    try:
        training.run(saver, Pace(every_chunks=1 << 30, period_seconds=1e9))
    finally:
        saver.close()
    return ear, dict(network.state_dict())


def _kept(snapshot: Snapshot) -> StepManifest:
    """Takes the last snapshot, as a store would; it is not measured."""
    step = StepId(claim=1, step=snapshot.state.step)
    return StepManifest(
        id=step,
        saved_at=datetime.now(UTC),
        save_seconds=0.0,
        tensors=TensorFile(key=step.tensors, size=1, sha256="0"),
        plan_digest="",
        statistics_digest="",
        configuration_digest="",
        state=snapshot.state.to_wire(),
        versions={},
    )


def measure_epochs(run: Run) -> dict[str, float]:
    fabric = make_fabric(gpus=0, threads=NUM_THREADS_OF_TORCH, deterministic=True)
    resident = run.dataset(resident=True)
    for _ in resident.training_batches(0):
        pass  # now it holds all blocks
    streamed_ears, resident_ears = [], []
    print(f"{run.statistics.steps_per_epoch} steps of {TRAINING.batch_size} windows")
    for _ in range(NUM_EPOCHS):
        ear, weights = epoch(run, run.dataset(resident=False), fabric)
        beside, expected = epoch(run, resident, fabric)
        if any(not torch.equal(weights[name], expected[name]) for name in expected):
            raise SystemExit("the streamed epoch trained another model than the resident one")
        streamed_ears.append(ear)
        resident_ears.append(beside)
        print(
            f"  from the server {ear.seconds:6.1f} s, waited {sum(ear.waits):5.2f} s;"
            f"  from memory {beside.seconds:6.1f} s, waited {sum(beside.waits):5.2f} s",
            flush=True,
        )
    pairs = zip(streamed_ears, resident_ears, strict=True)
    return {
        "first_epoch_ratio": stat.median(one.seconds / other.seconds for one, other in pairs),
        "data_wait_share": stat.median(sum(one.waits) / one.seconds for one in streamed_ears),
        "epoch_seconds": stat.median(one.seconds for one in streamed_ears),
        "steps": float(run.statistics.steps_per_epoch),
    }


Get = Callable[[PinnedObject], int]
Drain = Callable[[Sequence[PinnedObject]], int]


def clients(source: Source, storage: LaunchStorage, keys: dict[str, str]) -> dict[str, Drain]:
    """Returns, by name, functions that read all objects and return their bytes."""
    bucket, _, prefix = source.uri.removeprefix("s3://").partition("/")
    plain = Obstore(
        bucket,
        prefix=prefix,
        endpoint=storage.endpoint,
        region=storage.region,
        client_options={"allow_http": True},
        **keys,
    )
    host = urlsplit(str(storage.endpoint)).netloc
    local = threading.local()

    def by_obstore(one: PinnedObject) -> int:
        return len(plain.get(one.key).bytes())

    def by_http(one: PinnedObject) -> int:
        # The server lets anybody read: not even a signature.
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(host)
        local.connection.request("GET", f"/{bucket}/{prefix}/{quote(one.key)}")
        reply = local.connection.getresponse()
        assert reply.status == 200
        return len(reply.read())

    def in_threads(get: Get, objects: Sequence[PinnedObject]) -> int:
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            return sum(pool.map(get, objects))

    def by_obstore_async(objects: Sequence[PinnedObject]) -> int:
        return asyncio.run(_all(plain, objects))

    def by_fetcher(objects: Sequence[PinnedObject]) -> int:
        with Fetcher(source, max_bytes=FETCH_BYTES) as fetcher:
            return sum(one.size for one, _ in fetcher.ordered(objects))

    return {
        "Fetcher": by_fetcher,
        "obstore, threads": partial(in_threads, by_obstore),
        "obstore, asyncio": by_obstore_async,
        "http.client, threads": partial(in_threads, by_http),
    }


async def _all(store: Obstore, objects: Sequence[PinnedObject]) -> int:
    todo = iter(objects)

    async def work() -> int:
        total = 0
        for one in todo:
            total += len(await (await store.get_async(one.key)).bytes_async())
        return total

    return sum(await asyncio.gather(*(work() for _ in range(NUM_THREADS))))


def measure_fetch(drains: dict[str, Drain], objects: Sequence[PinnedObject]) -> float:
    """Returns the fetcher's throughput over that of the fastest plain client."""
    size = sum(one.size for one in objects)
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(NUM_ROUNDS):
        for name, drain in drains.items():
            began = time.perf_counter()
            if drain(objects) != size:
                raise SystemExit(f"{name} did not read {size} bytes")
            rates[name].append(size / (time.perf_counter() - began) / 1e6)
    print(f"{len(objects)} objects of {size / len(objects) / 1e3:.0f} kB, {NUM_THREADS} at a time")
    for name, found in rates.items():
        print(f"  {name:<22} {stat.median(found):7.0f} MB/s")
    return min(
        stat.median(ours / other for ours, other in zip(rates["Fetcher"], found, strict=True))
        for name, found in rates.items()
        if name != "Fetcher"
    )


def larger(uri: str, storage: LaunchStorage, count: int) -> tuple[Source, list[PinnedObject]]:
    store, now = open_store(uri, storage), datetime.now(UTC)
    for number in range(count):
        store.put_new(f"{number:04d}", os.urandom(LARGER_BYTES))
    source = open_source(uri, storage)
    return source, [
        PinnedObject(key=info.key, size=info.size, etag=info.etag, start=now, end=now)
        for info in source.list_objects()
    ]


def main() -> None:
    from tests.argus_trainer.conftest import KEY_PAIRS, started

    with ExitStack() as stack:
        server = started(stack)
        storage = server.options()
        access, secret = KEY_PAIRS[0]
        keys = {"access_key_id": access, "secret_access_key": secret}
        run = planned(server.new_uri(), storage)
        figures = {
            "fetch_share": measure_fetch(
                clients(run.source, storage, keys), [*run.plan.objects] * NUM_TIMES
            )
        }
        source, objects = larger(server.new_uri(), storage, 128)
        figures["fetch_share_larger"] = measure_fetch(clients(source, storage, keys), objects)
        figures |= measure_epochs(run)
    print(f"{'figure':>20} {'value':>10} {'goal':>10}")
    for name, value in figures.items():
        print(f"{name:>20} {value:>10.3f} {LIMITS.get(name, ''):>10}")
    emit("stream", figures, ["torch", "pytorch-forecasting", "obstore", "pyarrow"])


if __name__ == "__main__":
    main()
