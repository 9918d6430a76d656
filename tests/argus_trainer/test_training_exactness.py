"""A training that is stopped anywhere and restored gives the same bits as one that is not."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from argus_contract.layout import StepId
from argus_contract.ledger import StepManifest, TensorFile
from argus_contract.spec import ModelSpec
from argus_trainer.errors import DataError, DivergedError, Preempted
from argus_trainer.model.network import build_network
from argus_trainer.process.device import make_fabric
from argus_trainer.training.course import Course
from argus_trainer.training.divergence import BatchDiverged
from argus_trainer.training.loop import Training, best_tensors
from argus_trainer.training.pace import Pace
from argus_trainer.training.saver import Saver
from argus_trainer.training.state import Finish, Snapshot, chain, read_state

SMALL = ModelSpec(
    encoder_length=24,
    prediction_length=6,
    hidden_size=8,
    attention_heads=2,
    hidden_continuous_size=4,
    dropout="0.1",
)
NO_SAVES = {"every_chunks": 10**6, "period_seconds": 10**6}


class Killed(Exception):
    """The process is gone: nothing of it is left but what was saved."""


class Ear:
    """Remembers what the loop tells, and may stop it there."""

    def __init__(self, at_step=None, error=Killed):
        self.steps, self.epochs, self.started = [], [], []
        self._at_step, self._error = at_step, error

    def untrained(self, state):
        pass

    def epoch_started(self, epoch):
        self.started.append(epoch)

    def step_done(self, event):
        self.steps.append(event)
        if event.state.step == self._at_step:
            raise self._error

    def epoch_done(self, event):
        self.epochs.append(event)

    def saved(self, manifest):
        pass


def course_of(fleet, **changes):
    fields = {
        "epochs": 2,
        "max_steps": None,
        "steps_per_epoch": fleet.steps_per_epoch,
        "chunks": 4,
        "seed": 11,
        "learning_rate": 0.01,
        "target_weights": (1.0, 2.0),
    } | changes
    return Course(**fields)


def training_of(fleet, ear=None, *, course=None, check=lambda: None, source=None):
    return Training(
        network=build_network(fleet.reference, SMALL, 11),
        source=source or fleet,
        course=course or course_of(fleet),
        fabric=make_fabric(gpus=0, threads=1, deterministic=False),
        check=check,
        listener=ear or Ear(),
    )


class Shelf:
    """Where snapshots go: as bytes and JSON, like in a bucket."""

    def __init__(self):
        self.saved: list[Snapshot] = []

    def save(self, snapshot: Snapshot) -> StepManifest:
        self.saved.append(
            Snapshot(
                state=read_state(snapshot.state.to_wire()),
                tensors={name: tensor.clone() for name, tensor in snapshot.tensors.items()},
            )
        )
        step_id = StepId(claim=1, step=snapshot.state.step)
        return StepManifest(
            id=step_id,
            saved_at="2026-01-31T10:00:00Z",
            save_seconds=0.1,
            tensors=TensorFile(key=step_id.tensors, size=1, sha256="0"),
            plan_digest="",
            statistics_digest="",
            configuration_digest="",
            state=snapshot.state.to_wire(),
            versions={},
        )


def run(training, shelf=None, **pace):
    saver = Saver((shelf or Shelf()).save, durable=None)
    fields = NO_SAVES | pace
    try:
        return training.run(saver, Pace(**fields))
    finally:
        saver.close()


def outcome(training):
    """What must be equal: weights, moments, best weights, windows, losses."""
    snapshot = training.snapshot()
    digest = hashlib.sha256()
    for name in sorted(snapshot.tensors):
        digest.update(name.encode() + snapshot.tensors[name].numpy().tobytes())
    state = snapshot.state
    return (
        digest.hexdigest(),
        state.windows_digest,
        state.windows,
        state.step,
        state.train_loss,
        state.val_loss,
        state.untrained_val_loss,
        state.best,
        state.plateau,
        state.finish,
    )


@pytest.fixture(scope="module")
def undisturbed(toy_fleet):
    training = training_of(toy_fleet)
    run(training)
    return outcome(training)


def test_training_learns(toy_fleet, undisturbed):
    *_, untrained, best, _, finish = undisturbed
    assert best.val_loss < untrained
    assert finish is Finish.EPOCHS


@pytest.mark.parametrize("at_step", [3, 9, 13])
def test_a_stop_at_any_step_changes_no_bit(toy_fleet, undisturbed, at_step):
    """SIGTERM: the state is taken where the loop unwinds (after 9 steps an epoch is over)."""
    assert toy_fleet.steps_per_epoch == 9
    first = training_of(toy_fleet, Ear(at_step, Preempted))
    with pytest.raises(Preempted):
        run(first)
    shelf = Shelf()
    shelf.save(first.snapshot())

    second = training_of(toy_fleet)
    second.restore(shelf.saved[-1])
    run(second)

    assert outcome(second) == undisturbed


@pytest.mark.parametrize("at_step", [11])
def test_a_kill_goes_back_to_the_newest_save_and_changes_no_bit(toy_fleet, undisturbed, at_step):
    """SIGKILL: only what the pace had saved is left, here some step before."""
    shelf = Shelf()
    with pytest.raises(Killed):
        run(training_of(toy_fleet, Ear(at_step)), shelf, every_chunks=1)
    assert shelf.saved
    assert shelf.saved[-1].state.step <= at_step

    second = training_of(toy_fleet)
    second.restore(shelf.saved[-1])
    run(second)

    assert outcome(second) == undisturbed


def test_a_stop_inside_a_step_leaves_no_trace_of_it(toy_fleet, undisturbed):
    """`check` is called between the parts of a step: here it stops after a backward pass."""
    calls = iter(range(10**6))

    def check():
        if next(calls) == 16:
            raise Preempted("now")

    first = training_of(toy_fleet, check=check)
    with pytest.raises(Preempted):
        run(first)
    assert any(p.grad is not None for p in first._plain_network.parameters())
    second = training_of(toy_fleet)
    second.restore(first.snapshot())
    run(second)

    assert outcome(second) == undisturbed


def test_another_next_batch_after_a_resume_is_refused(toy_fleet):
    shelf = Shelf()
    with pytest.raises(Killed):
        run(training_of(toy_fleet, Ear(5)), shelf, every_chunks=1)

    class OtherOrder:
        validation_batches = toy_fleet.validation_batches

        def training_batches(self, epoch: int, first_step: int = 0) -> Iterator[object]:
            return toy_fleet.training_batches(epoch + 1, first_step)

    second = training_of(toy_fleet, source=OtherOrder())
    second.restore(shelf.saved[-1])
    with pytest.raises(DataError, match="other windows"):
        run(second)


def test_a_loss_that_is_not_finite_ends_the_training_and_is_never_saved(toy_fleet):
    class Broken:
        validation_batches = toy_fleet.validation_batches

        def training_batches(self, epoch: int, first_step: int = 0) -> Iterator[object]:
            batches = toy_fleet.training_batches(epoch, first_step)
            for step, batch in enumerate(batches, first_step):
                if step == 3:
                    batch.x["encoder_cont"][0, 0, 0] = float("inf")
                yield batch

    shelf, training = Shelf(), training_of(toy_fleet, source=Broken())
    with pytest.raises(BatchDiverged, match=r"step 4.*learningRate") as told:
        run(training, shelf, every_chunks=1)
    assert shelf.saved
    assert all(torch.isfinite(t).all() for s in shelf.saved for t in s.tensors.values())
    # The state before the batch and its ids are left: whoever goes on from it meets it again.
    shelf.save(training.snapshot())
    second = training_of(toy_fleet, source=Broken())
    second.restore(shelf.saved[-1])
    with pytest.raises(BatchDiverged) as again:
        run(second)
    batch, same = told.value.batch, again.value.batch
    assert (batch.part, batch.state.step_of_epoch) == ("training", 3)
    assert batch.window_ids.tolist() == same.window_ids.tolist()
    assert len(batch.window_ids) == toy_fleet.BATCH
    assert (batch.seed, batch.state.step) == (same.seed, same.state.step)


def test_a_state_that_is_not_finite_is_never_saved(toy_fleet):
    training, shelf = training_of(toy_fleet), Shelf()
    next(iter(training._plain_network.parameters())).data[0] = float("nan")
    saver = Saver(shelf.save, durable=None, tolerance_seconds=60)
    with pytest.raises(DivergedError, match="not finite"):
        saver.save_now(training.snapshot())
    saver.start(training.snapshot())
    saver.close()
    with pytest.raises(DivergedError, match="not finite"):
        saver.collect()
    assert not shelf.saved


def test_max_steps_ends_inside_an_epoch_with_a_validation(toy_fleet):
    ear = Ear()
    state = run(training_of(toy_fleet, ear, course=course_of(toy_fleet, max_steps=3)))
    assert (state.step, state.finish) == (3, Finish.MAX_STEPS)
    assert state.best is not None
    assert [event.epoch for event in ear.epochs] == [0]


class Frozen:
    """A fleet whose validation never improves: its targets move away epoch by epoch."""

    def __init__(self, fleet, validations=0):
        self._fleet = fleet
        self._validations = validations
        self.training_batches = fleet.training_batches

    def validation_batches(self):
        self._validations += 1
        for batch in self._fleet.validation_batches():
            batch.y[0] += 100.0 * self._validations
            yield batch


def test_without_improvement_the_rate_falls_and_training_stops_early(toy_fleet):
    ear = Ear()
    course = course_of(toy_fleet, epochs=50, steps_per_epoch=1)

    class OneStep(Frozen):
        def __init__(self, fleet):
            super().__init__(fleet)
            self.training_batches = lambda epoch, first_step=0: iter_one(fleet, epoch)

    def iter_one(fleet, epoch):
        yield fleet.batch([0, 1])

    training = training_of(toy_fleet, ear, course=course, source=OneStep(toy_fleet))
    state = run(training)

    assert state.finish is Finish.EARLY_STOPPING
    assert [event.is_best for event in ear.epochs] == [True] + [False] * 8
    assert [event.learning_rate for event in ear.epochs] == [0.01] * 6 + [0.005] * 3
    assert state.learning_rate == 0.005
    # The best weights are those of the first validation, not the newest ones.
    assert state.best is not None
    assert state.best.step == 1
    best, newest = best_tensors(training.snapshot()), training.snapshot().tensors
    assert any(not torch.equal(t, newest[f"model.{n}"]) for n, t in best.items())


def test_the_best_weights_survive_a_stop_in_a_later_epoch(toy_fleet):
    calm = training_of(toy_fleet, source=Frozen(toy_fleet))
    run(calm)
    assert calm.state.best is not None
    assert calm.state.best.epoch == 0
    first = training_of(toy_fleet, Ear(13, Preempted), source=Frozen(toy_fleet))
    with pytest.raises(Preempted):
        run(first)
    shelf = Shelf()
    shelf.save(first.snapshot())

    # Its third validation comes next: those before the first step and after epoch 1 are done.
    second = training_of(toy_fleet, source=Frozen(toy_fleet, validations=2))
    second.restore(shelf.saved[-1])
    run(second)

    assert outcome(second) == outcome(calm)


def test_the_chain_depends_on_the_order_of_windows():
    one, two = np.array([1, 2]), np.array([3])
    assert chain(chain("", one), two) != chain(chain("", two), one)
    assert chain("", one) != chain("", one[::-1])


def test_a_validation_that_is_not_finite_names_the_batch(toy_fleet):
    class Broken:
        training_batches = toy_fleet.training_batches

        def validation_batches(self) -> Iterator[object]:
            for number, batch in enumerate(toy_fleet.validation_batches()):
                if number == 1:
                    batch.y[0][0, 0] = float("nan")
                yield batch

    with pytest.raises(BatchDiverged, match="validation loss nan") as told:
        run(training_of(toy_fleet, source=Broken()))
    assert told.value.batch.part == "validation"
    assert told.value.batch.window_ids.tolist() == toy_fleet.validation[toy_fleet.BATCH :]
