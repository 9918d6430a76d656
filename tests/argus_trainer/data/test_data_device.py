"""Batches for a GPU, on a machine without one: torch plays the device, without any values.

What is seen here is where tensors are, what travels, and that nothing mixes devices. That the
values are those of the CPU is for `tests/gpu`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from argus_trainer.data.batch import CPU, Batch, Gather
from argus_trainer.data.grid import Block, Grid
from argus_trainer.data.memory import Memory, Shares
from argus_trainer.data.residence import blocks_fit, held_bytes

GPU = torch.device("cuda", 0)
BATCH_SIZE = 8


@dataclass
class Journeys(TorchDispatchMode):
    """What goes from the host to the device, and whether from pinned memory was asked for."""

    sent: list[tuple[int, bool]] = field(default_factory=list)
    """Elements, and whether nobody waits for them."""
    pinned: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default:
            if (args[0].device.type, made.device.type) == ("cpu", "cuda"):
                self.sent.append((args[0].numel(), bool(kwargs.get("non_blocking"))))
        elif kwargs.get("pin_memory"):
            self.pinned.append(made.numel())
        return made


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    values = [*batch.x.values(), batch.y, batch.spread, batch.weight]
    return [t for value in values for t in (value if isinstance(value, list) else [value])]


@dataclass
class Scene:
    """Makes one batch of two blocks, with both of them and the batch where they are wanted."""

    run: Any
    given: list[Any]

    def batch(self, *, device: torch.device, blocks_on: torch.device, journeys: Journeys) -> Batch:
        run = self.run
        grid = Grid(run.statistics, run.rules, blocks_on)
        gather = Gather(run.statistics, run.rules, BATCH_SIZE, device=device, blocks_on=blocks_on)
        blocks = [grid.block(*given) for given in self.given[:2]]
        with journeys:
            draft = gather.draft()
            draft.add([(blocks[0], np.array([3, 0, 11]))])
            draft.add([(blocks[1], np.array([5, 2, 2, 9, 1]))])
            return draft.make()


@pytest.fixture
def scene(prepared: Any, rows: Any, monkeypatch: pytest.MonkeyPatch) -> Scene:
    run = prepared(rows(status=True), targets=["cpu_user_pct", "load_average"])
    given: list[Any] = []
    make = Grid.block

    def keep(self: Grid, span: Any, chunks: Any) -> Block:
        given.append((span, [*chunks]))
        return make(self, *given[-1])

    with monkeypatch.context() as patch:
        patch.setattr(Grid, "block", keep)
        for _ in run.dataset().training_batches(0):
            pass
    return Scene(run, given)


@pytest.mark.parametrize("blocks_on", [GPU, CPU], ids=["on the GPU", "on the host"])
def test_all_of_a_batch_is_on_the_gpu_wherever_the_blocks_are(
    scene: Scene, blocks_on: torch.device
) -> None:
    expected = tensors_of(scene.batch(device=CPU, blocks_on=CPU, journeys=Journeys()))
    with FakeTensorMode(allow_non_fake_inputs=True):
        batch = scene.batch(device=GPU, blocks_on=blocks_on, journeys=Journeys())
    for ours, real in zip(tensors_of(batch), expected, strict=True):
        assert ours.device == GPU
        assert (ours.dtype, ours.shape, ours.stride()) == (real.dtype, real.shape, real.stride())
    assert len(batch.window_ids) == BATCH_SIZE


def test_of_blocks_on_the_gpu_only_indices_travel(scene: Scene) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        journeys = Journeys()
        scene.batch(device=GPU, blocks_on=GPU, journeys=journeys)
    assert sorted(count for count, _ in journeys.sent) == [3, 5, BATCH_SIZE]
    assert not journeys.pinned


def test_a_batch_of_blocks_on_the_host_travels_at_once_from_pinned_memory(scene: Scene) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        journeys = Journeys()
        batch = scene.batch(device=GPU, blocks_on=CPU, journeys=journeys)
    floats = batch.x["encoder_cont"].untyped_storage().nbytes() // 4
    assert sorted(journeys.sent) == [(BATCH_SIZE, False), (floats, True)]
    assert journeys.pinned == [floats]


def test_on_a_cpu_nothing_travels_and_nothing_is_pinned(scene: Scene) -> None:
    journeys = Journeys()
    scene.batch(device=CPU, blocks_on=CPU, journeys=journeys)
    assert not journeys.sent
    assert not journeys.pinned


def test_blocks_stay_on_the_device_if_a_quarter_of_what_is_free_holds_them(prepared: Any) -> None:
    memory: Memory = prepared().memory
    for budget in (None, memory.least, memory.recommended, memory.everything):
        shares = memory.shares(budget)
        held = held_bytes(memory, shares)
        assert blocks_fit(memory, shares, 4 * held)
        assert not blocks_fit(memory, shares, 4 * held - 1)
    assert held_bytes(memory, memory.shares(None)) > memory.blocks
    least = held_bytes(memory, memory.shares(memory.least))
    assert least == (memory.mix_width + 1) * memory.block
    much = Shares(blocks_ahead=0, fetch_bytes=0, chunk_bytes=0, block_bytes=10 * memory.blocks)
    assert held_bytes(memory, much) == least + memory.blocks
