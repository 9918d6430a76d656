"""The loop: batches in, steps, validation, a state that can be taken at any step.

Exactness is the one idea. The state changes only when a step or an epoch is complete, order
and randomness follow from (seed, epoch, step), and batches are asked for by position. So a
training that is dropped after any step and restored from the state before it repeats the
same bits (on the same CPU, build and number of threads).

A stop is noticed between the parts of a step; a step that is not complete leaves no trace. A step
whose loss is not finite is not completed either: the weights stay those before it.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau

from argus_trainer.data.batch import Batch
from argus_trainer.errors import DataError
from argus_trainer.model.loss import LossParts, batch_loss
from argus_trainer.model.network import own_tensors, predict
from argus_trainer.training.course import Course
from argus_trainer.training.divergence import BatchDiverged, BrokenBatch
from argus_trainer.training.events import EpochDone, Listener, StepDone
from argus_trainer.training.moments import moments_of, set_moments
from argus_trainer.training.pace import Pace
from argus_trainer.training.saver import Saver
from argus_trainer.training.state import (
    Best,
    Finish,
    Plateau,
    Snapshot,
    TrainingState,
    chain,
    ids_digest,
)

GRADIENT_NORM = 0.1
PLATEAU_PATIENCE = 4
PLATEAU_FACTOR = 0.5
STOPPING_PATIENCE = 8
SLOW_STEP_SECONDS = 2.0
"""Beyond it a stop may find the training inside a long call: a host snapshot is kept after each."""


class Source(Protocol):
    """Where batches come from: `data.dataset.Dataset`."""

    def training_batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from a step on; closing it ends its work."""
        ...

    def validation_batches(self) -> Iterator[Batch]:
        """Yields all validation batches in a fixed order."""
        ...


class Training:
    """A training that can be restored, run and taken."""

    def __init__(
        self,
        *,
        network: nn.Module,
        source: Source,
        course: Course,
        fabric: Fabric,
        check: Callable[[], None],
        listener: Listener,
    ) -> None:
        """`check` is called after each part of a step, never while one is awaited; it may raise."""
        # Fused: the plain form walks hundreds of small parameters one by one, in Python.
        self._optimizer = Adam(network.parameters(), lr=course.learning_rate, fused=True)
        self._network, self._fabric_optimizer = fabric.setup(network, self._optimizer)
        self._plain_network = network
        self._scheduler = ReduceLROnPlateau(
            self._optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE
        )
        self._source = source
        self._course = course
        self._fabric = fabric
        self._check = check
        self._listener = listener
        self._target_weights = torch.tensor(course.target_weights, device=fabric.device)
        self._best: dict[str, Tensor] = {}
        self._state = TrainingState(learning_rate=course.learning_rate)

    @property
    def state(self) -> TrainingState:
        return self._state

    def snapshot(self) -> Snapshot:
        """Returns the state on the host."""
        tensors = {
            f"model.{name}": tensor for name, tensor in own_tensors(self._plain_network).items()
        }
        tensors.update(
            {f"optimizer.{k}": v for k, v in moments_of(self._plain_network, self._optimizer)}
        )
        on_host = {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in tensors.items()
        }
        # Set anew at each best validation and never written to: sharing them is safe.
        on_host.update({f"best.{name}": tensor for name, tensor in self._best.items()})
        return Snapshot(state=self._state, tensors=on_host)

    def restore(self, snapshot: Snapshot) -> None:
        """Goes on from a snapshot of a training with the same network and course."""
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "best": {}}
        for name, tensor in snapshot.tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        own = own_tensors(self._plain_network)
        if own.keys() != groups["model"].keys():
            different = sorted(own.keys() ^ groups["model"].keys())
            raise DataError(
                f"checkpoint: weights do not fit the network, first {different[0]}: start "
                "a new run with another runToken"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(groups["model"][name])
        set_moments(self._plain_network, self._optimizer, groups["optimizer"])
        self._best = groups["best"]
        self._state = snapshot.state
        self._set_learning_rate(snapshot.state.learning_rate)
        plateau = snapshot.state.plateau
        self._scheduler.best = math.inf if plateau.best is None else plateau.best
        self._scheduler.num_bad_epochs = plateau.num_bad_epochs
        self._scheduler.last_epoch = plateau.last_epoch

    def run(self, saver: Saver, pace: Pace) -> TrainingState:
        """Trains to the end and returns the final state.

        Raises what `check` raises, DivergedError, DataError, and errors of saving.
        """
        pace.begin(self._chunks, time.monotonic())
        if self._state.untrained_val_loss is None:
            self._change(untrained_val_loss=self._validate())
            self._listener.untrained(self._state)
        while self._state.finish is None:
            if self._state.step_of_epoch == 0:
                self._listener.epoch_started(self._state.epoch)
            if not self._is_epoch_over:
                self._train_epoch(saver, pace)
            else:
                # A validation may be long, and a stop may find it in a long call.
                saver.keep(self.snapshot())
                self._close_epoch()
                self._save_if_due(saver, pace)
        return self._state

    @property
    def _chunks(self) -> int:
        """Chunks consumed over all epochs."""
        state = self._state
        return state.epoch * self._course.chunks + self._course.chunk(state.step_of_epoch)

    @property
    def _is_epoch_over(self) -> bool:
        state = self._state
        return (
            state.step_of_epoch >= self._course.steps_per_epoch
            or state.step >= self._course.total_steps
        )

    def _train_epoch(self, saver: Saver, pace: Pace) -> None:
        """Trains to the last step of the epoch, or of the training."""
        epoch = self._state.epoch
        began = time.monotonic()
        batches = self._source.training_batches(epoch, first_step=self._state.step_of_epoch)
        # The source's iterator is a generator: closing it ends its thread.
        with closing(batches):  # type: ignore[type-var]
            batch = self._next(batches)
            self._expect(batch)
            waited = time.monotonic() - began
            while True:
                loss = self._step(batch)
                self._advance(batch, loss, seconds=time.monotonic() - began)
                self._listener.step_done(
                    StepDone(
                        state=self._state,
                        loss=loss,
                        window_ids=batch.window_ids,
                        seconds=time.monotonic() - began,
                        wait_seconds=waited,
                    )
                )
                # The last step of an epoch is saved together with its validation.
                if self._is_epoch_over:
                    return
                step_seconds, began = time.monotonic() - began, time.monotonic()
                batch = self._next(batches)
                waited = time.monotonic() - began
                self._change(next_batch_digest=ids_digest(batch.window_ids))
                self._save_if_due(saver, pace, step_seconds=step_seconds)

    def _next(self, batches: Iterator[Batch]) -> Batch:
        batch = next(batches, None)
        if batch is None:
            raise DataError(
                f"epoch {self._state.epoch + 1} ended after {self._state.step_of_epoch} steps of "
                f"{self._course.steps_per_epoch}: the statistics do not belong to this data"
            )
        return batch

    def _expect(self, batch: Batch) -> None:
        expected = self._state.next_batch_digest
        if expected is not None and expected != ids_digest(batch.window_ids):
            raise DataError(
                f"epoch {self._state.epoch + 1} step {self._state.step_of_epoch + 1}: the next "
                "batch holds other windows than when the checkpoint was written: data or image "
                "changed under the run; start a new run with another runToken"
            )

    def _step(self, batch: Batch) -> float:
        """One optimizer step; returns its loss. Complete, or without a trace."""
        state = self._state
        self._network.train()
        seed = self._course.step_seed(state.epoch, state.step_of_epoch)
        torch.manual_seed(seed)
        self._check()
        batch = self._on_device(batch)
        loss = self._loss_of(batch).mean(self._target_weights)
        self._check()
        self._fabric_optimizer.zero_grad()
        self._fabric.backward(loss)
        norm = self._fabric.clip_gradients(
            self._network,
            self._fabric_optimizer,
            max_norm=GRADIENT_NORM,
            error_if_nonfinite=False,
        )
        self._check()
        value, length = loss.item(), math.nan if norm is None else norm.item()
        if not math.isfinite(value) or not math.isfinite(length):
            raise BatchDiverged(
                f"epoch {state.epoch + 1} step {state.step_of_epoch + 1}: loss {value}, gradient "
                f"norm {length}: use a lower training.learningRate than "
                f"{self._course.learning_rate:g}",
                BrokenBatch(
                    part="training",
                    state=state,
                    seed=seed,
                    loss=value,
                    gradient_norm=length,
                    window_ids=batch.window_ids,
                ),
            )
        self._fabric_optimizer.step()
        return value

    def _on_device(self, batch: Batch) -> Batch:
        # Fabric moves collections of tensors, and no frozen dataclass.
        x, y, spread, weight = self._fabric.to_device(
            (batch.x, batch.y, batch.spread, batch.weight)
        )
        return replace(batch, x=x, y=y, spread=spread, weight=weight)

    def _loss_of(self, batch: Batch) -> LossParts:
        return batch_loss(predict(self._network, batch.x), batch)

    def _advance(self, batch: Batch, loss: float, *, seconds: float) -> None:
        state = self._state
        self._change(
            step=state.step + 1,
            step_of_epoch=state.step_of_epoch + 1,
            windows=state.windows + len(batch.window_ids),
            windows_digest=chain(state.windows_digest, batch.window_ids),
            next_batch_digest=None,
            loss_sum=state.loss_sum + loss,
            epoch_seconds=state.epoch_seconds + seconds,
            train_seconds=state.train_seconds + seconds,
        )

    def _close_epoch(self) -> None:
        """Validates and decides about best, learning rate and the end."""
        began = time.monotonic()
        state = self._state
        val_loss = self._validate()
        is_best = state.best is None or val_loss < state.best.val_loss
        if is_best:
            self._best = {
                name: tensor.detach().to("cpu", copy=True).contiguous()
                for name, tensor in own_tensors(self._plain_network).items()
            }
        self._scheduler.step(val_loss)
        seconds = time.monotonic() - began
        without_best = 0 if is_best else state.validations_without_best + 1
        epoch_is_whole = state.step_of_epoch >= self._course.steps_per_epoch
        self._change(
            epoch=state.epoch + 1 if epoch_is_whole else state.epoch,
            step_of_epoch=0 if epoch_is_whole else state.step_of_epoch,
            train_loss=state.newest_train_loss,
            loss_sum=0.0 if epoch_is_whole else state.loss_sum,
            val_loss=val_loss,
            best=Best(val_loss=val_loss, epoch=state.epoch, step=state.step)
            if is_best
            else state.best,
            validations_without_best=without_best,
            learning_rate=float(self._optimizer.param_groups[0]["lr"]),
            plateau=Plateau(
                best=float(self._scheduler.best),
                num_bad_epochs=self._scheduler.num_bad_epochs,
                last_epoch=self._scheduler.last_epoch,
            ),
            epoch_seconds=0.0 if epoch_is_whole else state.epoch_seconds + seconds,
            train_seconds=state.train_seconds + seconds,
        )
        self._change(finish=self._finish())
        self._listener.epoch_done(
            EpochDone(
                epoch=state.epoch,
                state=self._state,
                seconds=state.epoch_seconds + seconds,
                validation_seconds=seconds,
                is_best=is_best,
                learning_rate=state.learning_rate,
            )
        )

    def _finish(self) -> Finish | None:
        state, course = self._state, self._course
        if state.epoch >= course.epochs:
            return Finish.EPOCHS
        if state.step >= course.total_steps:
            return Finish.MAX_STEPS
        if state.validations_without_best >= STOPPING_PATIENCE:
            return Finish.EARLY_STOPPING
        return None

    def _validate(self) -> float:
        """Returns the loss over all validation windows, summed in float64."""
        self._network.eval()
        losses: list[Tensor] = []
        weights: list[Tensor] = []
        ids: list[np.ndarray] = []
        with torch.no_grad(), closing(self._source.validation_batches()) as batches:  # type: ignore[type-var]
            for batch in batches:
                self._check()
                parts = self._loss_of(self._on_device(batch))
                losses.append(parts.loss_of_target.double())
                weights.append(parts.weight_of_target.double())
                ids.append(batch.window_ids)
        if not losses:
            raise DataError(
                "validation: no window: the last part of the data is shorter than "
                "model.encoderLength + model.predictionLength; record more data or shorten them"
            )
        total = LossParts(
            loss_of_target=torch.stack(losses).sum(0), weight_of_target=torch.stack(weights).sum(0)
        )
        value = float(total.mean(self._target_weights.double()))
        if not math.isfinite(value):
            raise self._diverged_in_validation(value, losses, ids)
        return value

    def _diverged_in_validation(
        self, value: float, losses: list[Tensor], ids: list[np.ndarray]
    ) -> BatchDiverged:
        state = self._state
        broken = [n for n, loss in enumerate(losses) if not torch.isfinite(loss).all()]
        return BatchDiverged(
            f"step {state.step}: validation loss {value}: use a lower training.learningRate than "
            f"{self._course.learning_rate:g}",
            BrokenBatch(
                part="validation",
                state=state,
                seed=self._course.step_seed(state.epoch, state.step_of_epoch),
                loss=value,
                window_ids=ids[broken[0]] if broken else np.array([], dtype=np.int64),
            ),
        )

    def _save_if_due(self, saver: Saver, pace: Pace, step_seconds: float = 0.0) -> None:
        began = time.monotonic()
        if manifest := saver.collect():
            pace.uploaded(saver.cpu_seconds)
            self._listener.saved(manifest)
        if not saver.is_busy and pace.is_due(self._chunks, began, failing=saver.is_failing):
            saver.start(self.snapshot())
            pace.saved(self._chunks, began, cost_seconds=time.monotonic() - began)
        elif step_seconds > SLOW_STEP_SECONDS:
            saver.keep(self.snapshot())

    def _set_learning_rate(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _change(self, **changes: object) -> None:
        self._state = self._state.model_copy(update=changes)


def best_tensors(snapshot: Snapshot) -> dict[str, Tensor]:
    """Returns the weights of the best validation by parameter name."""
    prefix = "best."
    tensors = snapshot.tensors.items()
    return {name.removeprefix(prefix): t for name, t in tensors if name.startswith(prefix)}
