"""On a GPU the batches are those of the CPU, to the bit, wherever the blocks stay."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from argus_trainer.data.batch import CPU, Batch

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["on the GPU", "on the host"])
def blocks_on(request: pytest.FixtureRequest, gpu: torch.device) -> torch.device:
    return gpu if request.param == "on the GPU" else CPU


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    values = [*batch.x.values(), batch.y, batch.spread, batch.weight]
    return [t for value in values for t in (value if isinstance(value, list) else [value])]


def assert_equal_to_the_bit(batches: Iterable[Batch], expected: Iterable[Batch]) -> None:
    for ours, theirs in zip(batches, expected, strict=True):
        assert (ours.window_ids == theirs.window_ids).all()
        for our, their in zip(tensors_of(ours), tensors_of(theirs), strict=True):
            assert our.device.type == "cuda"
            assert our.dtype == their.dtype
            assert torch.equal(our.cpu(), their)


def test_batches_equal_those_of_the_cpu_to_the_bit(
    run: Any, gpu: torch.device, blocks_on: torch.device
) -> None:
    dataset, expected = run.dataset(device=gpu, blocks_on=blocks_on), run.dataset()
    for epoch in (0, 1):
        assert_equal_to_the_bit(dataset.training_batches(epoch), expected.training_batches(epoch))
    assert_equal_to_the_bit(dataset.validation_batches(), expected.validation_batches())


def test_batches_that_nobody_has_looked_at_yet_stay_as_they_came(
    run: Any, gpu: torch.device, blocks_on: torch.device
) -> None:
    """Pinned memory must not be filled again before the copy from it has been done."""
    # Work that the copies wait behind, so that the host is far ahead of the device.
    busy = torch.rand(4096, 4096, device=gpu)
    for _ in range(50):
        busy = busy @ busy / 4096
    kept = [*run.dataset(device=gpu, blocks_on=blocks_on).training_batches(0)]
    assert_equal_to_the_bit(kept, run.dataset().training_batches(0))


def test_blocks_stay_where_they_should(
    run: Any, gpu: torch.device, blocks_on: torch.device
) -> None:
    before = torch.cuda.memory_allocated(gpu)
    dataset = run.dataset(device=gpu, blocks_on=blocks_on, shares=run.memory.shares(None))
    for batch in dataset.training_batches(0):
        del batch
    taken = torch.cuda.memory_allocated(gpu) - before
    assert (taken > run.memory.block) == (blocks_on == gpu)


def test_deterministic_training_twice_gives_the_same_weights_wherever_the_blocks_stay(
    trained: Callable[..., dict[str, torch.Tensor]], gpu: torch.device
) -> None:
    once, again, from_host = (trained(steps=8, blocks_on=place) for place in (gpu, gpu, CPU))
    untrained = trained(steps=1, blocks_on=gpu)
    assert any(not torch.equal(once[name], untrained[name]) for name in once)
    for other in (again, from_host):
        assert once.keys() == other.keys()
        assert all(torch.equal(once[name], other[name]) for name in once)
