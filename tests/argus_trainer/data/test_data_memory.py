"""A memory budget decides what is read again, never what is trained; and it is kept."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from argus_contract.ledger import StepManifest
from argus_contract.spec import TrainingSpec
from argus_trainer.data.batch import Batch
from argus_trainer.data.dataset import Dataset
from argus_trainer.data.decode import ChunkFile
from argus_trainer.data.grid import Block, ChunkGrid, Grid
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.memory import MIB, Memory, Shares, block_bytes, budget_of
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.data.step_record import Record
from argus_trainer.data.windows import training_spans
from argus_trainer.errors import ConfigurationError
from argus_trainer.ingest.metrics import import_metrics
from argus_trainer.ingest.read import Reading
from argus_trainer.model.network import build_network
from argus_trainer.process.device import make_fabric
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.local import LocalStore
from argus_trainer.training.course import Course
from argus_trainer.training.loop import Training
from argus_trainer.training.pace import Pace
from argus_trainer.training.saver import Saver

NAB = Path(__file__).parents[2] / "data" / "nab"


def generated(folder: Path) -> None:
    generate(LocalStore(folder), servers=4, hours=40, seed=3)


def real_with_gaps(folder: Path) -> None:
    """Writes four days of real series, with single steps and longer gaps cut out of them."""
    rng = np.random.default_rng(5)
    cut = folder.with_name("cut")
    cut.mkdir()
    for file in sorted(NAB.glob("*.csv")):
        frame = pd.read_csv(file).head(4 * 288)
        keep = rng.random(len(frame)) > 0.02
        for at in rng.integers(0, len(frame), 6):
            keep[at : at + rng.integers(2, 40)] = False
        frame[keep].to_csv(cut / file.name, index=False)
    import_metrics(
        sorted(cut.glob("*.csv")),
        LocalStore(folder),
        Reading(names={"value": "cpu_user_pct"}, server_column=None),
    )


@pytest.fixture(scope="module", params=[generated, real_with_gaps])
def run(request: pytest.FixtureRequest, run_over: Any, tmp_path_factory: Any) -> Any:
    folder = tmp_path_factory.mktemp(request.param.__name__) / "data"
    folder.mkdir()
    request.param(folder)
    return run_over(folder, encoder=30, decoder=10, batch_size=64).prepare()


def budgets(memory: Memory) -> list[int]:
    """Returns budgets of every kind: no block ahead, some, no chunk, some blocks, all."""
    return [
        memory.least,
        memory.least + memory.block + memory.chunks // 3,
        memory.recommended + memory.blocks // 3,
        memory.everything,
    ]


def digest(batches: Iterable[Batch]) -> str:
    """Returns what a training sees, in order, to the bit."""
    seen = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch.x):
            values = batch.x[name]
            for tensor in values if isinstance(values, list) else [values]:
                seen.update(tensor.contiguous().numpy().tobytes())
        for tensor in (*batch.y, batch.spread, batch.weight):
            seen.update(tensor.contiguous().numpy().tobytes())
        seen.update(batch.window_ids.tobytes())
    return seen.hexdigest()


def two_epochs(dataset: Dataset) -> list[str]:
    return [
        digest(batches)
        for epoch in (0, 1)
        for batches in (dataset.training_batches(epoch), dataset.validation_batches())
    ]


def test_no_budget_changes_a_bit_of_any_batch(run: Any) -> None:
    standard = two_epochs(run.dataset(shares=run.memory.shares(None)))
    assert len(set(standard)) == 3  # two epochs, and one validation twice
    for budget in budgets(run.memory):
        assert two_epochs(run.dataset(shares=run.memory.shares(budget))) == standard
    ahead = Shares(blocks_ahead=7, fetch_bytes=1, chunk_bytes=0, block_bytes=0)
    assert two_epochs(run.dataset(shares=ahead)) == standard


class FewBatches:
    """A dataset with a single batch to validate on."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.training_batches = dataset.training_batches

    def validation_batches(self) -> Iterator[Batch]:
        yield next(self._dataset.validation_batches())


class Deaf:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def trained(run: Any, shares: Shares, steps: int) -> dict[str, torch.Tensor]:
    """Returns the weights after so many steps of a tiny network."""
    dataset = run.dataset(shares=shares)
    model = run.model.model_copy(
        update={"hidden_size": 4, "hidden_continuous_size": 4, "attention_heads": 1}
    )
    network = build_network(fitted_dataset(run.statistics, model, dataset.sample_frame()), model, 1)
    training = Training(
        network=network,
        source=FewBatches(dataset),
        course=Course(
            epochs=2,
            max_steps=steps,
            steps_per_epoch=run.statistics.steps_per_epoch,
            chunks=run.plan.split.train_end,
            seed=1,
            learning_rate=0.01,
            target_weights=(1.0,),
        ),
        fabric=make_fabric(gpus=0, threads=1, deterministic=False),
        check=lambda: None,
        listener=Deaf(),
    )
    saver = Saver(lambda snapshot: StepManifest.model_construct(), durable=None)
    try:
        training.run(saver, Pace(every_chunks=10**6, period_seconds=10**6))
    finally:
        saver.close()
    return {name: weight.clone() for name, weight in network.state_dict().items()}


def test_standard_and_streaming_train_the_same_weights(run: Any) -> None:
    steps = 6
    standard = trained(run, run.memory.shares(None), steps)
    for budget in budgets(run.memory):
        streaming = trained(run, run.memory.shares(budget), steps)
        assert standard.keys() == streaming.keys()
        assert all(torch.equal(standard[name], streaming[name]) for name in standard)


def test_bytes_are_those_of_real_blocks_and_chunks(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[Block] = []
    chunks: list[ChunkGrid] = []
    for name, made in (("block", blocks), ("chunk", chunks)):
        make = getattr(Grid, name)

        def and_keep(*given: Any, make: Any = make, made: list[Any] = made) -> Any:
            made.append(make(*given))
            return made[-1]

        monkeypatch.setattr(Grid, name, and_keep)
    two_epochs(run.dataset(shares=run.memory.shares(None)))
    sizes = [block.num_bytes for block in blocks]
    assert run.memory.block == max(sizes)
    assert run.memory.blocks == sum(sizes)
    inputs = Inputs.of(run.statistics)
    (block,) = [b for b in blocks if b.span == training_spans_of(run)[0]]
    assert block.num_bytes == block.windows_PX.untyped_storage().nbytes() + block.positions.nbytes
    assert block.num_bytes == block_bytes(
        block.span, len(run.statistics.servers), Record.of(inputs), len(block.positions)
    )
    needed = [sum(chunks[0].num_bytes for _ in span.objects) for span in (b.span for b in blocks)]
    assert run.memory.chunks == max(needed)


def training_spans_of(run: Any) -> Any:
    return training_spans(run.plan, run.statistics.cadence_seconds, run.rules)


def test_what_is_kept_is_not_read_again(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0
    columns = ChunkFile.columns

    def counted(*given: Any, **options: Any) -> Any:
        nonlocal decoded
        decoded += 1
        return columns(*given, **options)

    monkeypatch.setattr(ChunkFile, "columns", counted)

    def second_epoch(budget: int | None) -> int:
        nonlocal decoded
        dataset = run.dataset(shares=run.memory.shares(budget))
        two_epochs(dataset)
        decoded = 0
        two_epochs(dataset)
        return decoded

    least, some, more, all_blocks = [second_epoch(budget) for budget in budgets(run.memory)]
    assert least >= some > more > all_blocks == second_epoch(None) == 0


def test_a_budget_below_the_least_is_refused_with_the_least(run: Any) -> None:
    least = -(-run.memory.least // MIB)
    assert run.memory.shares(run.memory.least) == Shares(
        blocks_ahead=0, fetch_bytes=0, chunk_bytes=0, block_bytes=0
    )
    with pytest.raises(ConfigurationError) as refusal:
        run.memory.shares(run.memory.least - 1)
    text = str(refusal.value)
    assert text.startswith("training.memoryBudget ")
    assert f"set at least {least}Mi" in text
    assert "\n" not in text


def test_shares_spend_the_budget_and_no_more(run: Any) -> None:
    memory = run.memory
    for budget in range(memory.least, 2 * memory.everything, memory.block // 3):
        shares = memory.shares(budget)
        spent = (
            shares.blocks_ahead * memory.block
            + shares.fetch_bytes
            + shares.chunk_bytes
            + (shares.block_bytes or 0)
        )
        assert memory.least + spent == budget


def test_the_default_is_half_of_what_the_container_may_take(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    4096 kB\n")
    where = {"cgroup": tmp_path, "meminfo": meminfo}
    assert budget_of(TrainingSpec(), **where) == 2048 * 1024
    old = tmp_path / "memory" / "memory.limit_in_bytes"
    old.parent.mkdir()
    old.write_text("9223372036854771712\n")
    assert budget_of(TrainingSpec(), **where) == 2048 * 1024
    old.write_text("3000\n")
    assert budget_of(TrainingSpec(), **where) == 1500
    (tmp_path / "memory.max").write_text("max\n")
    assert budget_of(TrainingSpec(), **where) == 2048 * 1024
    (tmp_path / "memory.max").write_text("1000\n")
    assert budget_of(TrainingSpec(), **where) == 500
    assert budget_of(TrainingSpec(memory_budget="64Mi"), **where) == 64 * MIB
    assert budget_of(TrainingSpec(mode="Standard"), **where) is None
    (tmp_path / "memory.max").unlink()
    old.unlink()
    meminfo.unlink()
    with pytest.raises(ConfigurationError, match=r"set training\.memoryBudget, for example 4Gi"):
        budget_of(TrainingSpec(), **where)
