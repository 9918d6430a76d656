"""What needs a GPU; without one each test is skipped and says so."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.argus_trainer.data.conftest import Run, make_rows, write_frame

from argus_contract.ledger import StepManifest
from argus_trainer.data.batch import Batch
from argus_trainer.data.dataset import Dataset
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.model.interpolation import interpolate_exactly
from argus_trainer.model.network import build_network
from argus_trainer.process.device import device_of, make_fabric
from argus_trainer.training.course import Course
from argus_trainer.training.loop import Training
from argus_trainer.training.pace import Pace
from argus_trainer.training.saver import Saver


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    # As the trainer does it: cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not torch.cuda.is_available():
        pytest.skip("no GPU: torch.cuda.is_available() is False")
    return device_of(gpus=1)


@pytest.fixture(scope="session")
def run(gpu: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Rows with states and gaps, two targets."""
    frame = make_rows(status=True)
    frame = frame[(frame.index * 7919) % 50 != 0]
    return Run(
        write_frame(frame, tmp_path_factory.mktemp("rows") / "dataset"),
        targets=["cpu_user_pct", "load_average"],
        encoder=30,
        decoder=10,
        batch_size=32,
    ).prepare()


class OneToValidateOn:
    """A dataset as the loop sees it, with a single batch of validation."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.training_batches = dataset.training_batches

    def validation_batches(self) -> Iterator[Batch]:
        yield next(self._dataset.validation_batches())


class Deaf:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@pytest.fixture
def trained(run: Run, gpu: torch.device) -> Callable[..., dict[str, torch.Tensor]]:
    """Returns a function that trains a tiny network in deterministic mode and gives its weights."""

    def train(*, steps: int, **options: Any) -> dict[str, torch.Tensor]:
        fabric = make_fabric(gpus=1, threads=1, deterministic=True)
        dataset = run.dataset(device=gpu, **options)
        model = run.model.model_copy(
            update={"hidden_size": 8, "hidden_continuous_size": 4, "attention_heads": 2}
        )
        reference = fitted_dataset(run.statistics, model, dataset.sample_frame())
        network = build_network(reference, model, seed=1)
        interpolate_exactly(network)
        training = Training(
            network=network,
            source=OneToValidateOn(dataset),
            course=Course(
                epochs=2,
                max_steps=steps,
                steps_per_epoch=run.statistics.steps_per_epoch,
                chunks=run.plan.split.train_end,
                seed=1,
                learning_rate=0.01,
                target_weights=(1.0, 1.0),
            ),
            fabric=fabric,
            check=lambda: None,
            listener=Deaf(),
        )
        saver = Saver(lambda snapshot: StepManifest.model_construct(), durable=None)
        try:
            training.run(saver, Pace(every_chunks=10**6, period_seconds=10**6))
        finally:
            saver.close()
        return {name: weight.cpu() for name, weight in network.state_dict().items()}

    return train
