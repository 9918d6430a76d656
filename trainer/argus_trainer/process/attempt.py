"""One attempt: resume, train, name the final state, write the bundle, publish.

Imports torch and pytorch-forecasting. Everything that the bundle is made of comes from the
final state in the bucket, so an attempt that dies while publishing is repeated to the byte.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric import Fabric
from pytorch_forecasting import TimeSeriesDataSet
from pytorch_forecasting.models import TemporalFusionTransformer

from argus_contract.digests import digest_of
from argus_contract.launch import Launch
from argus_contract.layout import StepId
from argus_contract.ledger import Claim, Final
from argus_contract.plan import Plan, Statistics
from argus_contract.progress import TrainerPhase
from argus_trainer.bundle.content import BundleContent, Outcome
from argus_trainer.bundle.publish import artifact_of, publish
from argus_trainer.bundle.write import write_bundle
from argus_trainer.checkpoints.state import Identity, LoadedState, SnapshotToSave
from argus_trainer.checkpoints.steps import Steps
from argus_trainer.data.dataset import Dataset
from argus_trainer.data.memory import Memory, budget_of
from argus_trainer.data.pins import Pins
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.data.rules import Rules
from argus_trainer.data.windows import WindowRules
from argus_trainer.errors import (
    ConfigurationError,
    Preempted,
    StorageError,
    StorageUnavailable,
)
from argus_trainer.model.interpolation import interpolate_exactly
from argus_trainer.model.network import QUANTILES, build_network, full_state, network_arguments
from argus_trainer.process import device
from argus_trainer.process.ledger import Ledger
from argus_trainer.process.narrator import Narrator
from argus_trainer.process.report import Report
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.storage.store import Source, Store
from argus_trainer.training.course import Course
from argus_trainer.training.loop import Training, best_tensors
from argus_trainer.training.pace import Pace
from argus_trainer.training.saver import Saver
from argus_trainer.training.state import Finish, Snapshot, TrainingState, read_state


class Attempt:
    """This process's attempt at a planned run."""

    def __init__(
        self,
        *,
        launch: Launch,
        surroundings: Surroundings,
        report: Report,
        ledger: Ledger,
        plan: Plan,
        statistics: Statistics,
        data: Source,
        run_store: Store,
        output: Store,
        pins: Pins | None,
    ) -> None:
        self._launch = launch
        self._surroundings = surroundings
        self._stop = surroundings.stop
        self._report = report
        self._ledger = ledger
        self._plan = plan
        self._statistics = statistics
        self._run_store = run_store
        self._output = output
        self._pins = pins
        rules = WindowRules.of(launch.model, launch.data, launch.training)
        memory = Memory.of(plan, statistics, rules, launch.training.batch_size)
        shares = memory.shares(budget_of(launch.training))
        to_train_on = device.device_of(launch.gpus)
        self._dataset = Dataset(
            data,
            plan,
            statistics,
            rules,
            launch.training,
            reading=Rules.of(launch.data),
            shares=shares,
            pins=pins,
            device=to_train_on,
            blocks_on=device.home_of_blocks(to_train_on, memory, shares),
            check=self._stop.check,
        )
        self._training: Training | None = None
        self._saver: Saver | None = None

    def run(self) -> None:
        """Goes on from the newest state to the published bundle. Raises ArgusError."""
        steps = self._steps(versions={})
        final = steps.final()
        loaded = steps.load_final(final) if final else steps.newest()
        self._say_fallbacks(loaded)
        claim = self._ledger.claim(resumed=loaded.id if loaded else None)
        threads = _threads_of(loaded)
        self._report.phase(TrainerPhase.TRAINING)
        with _out_of_memory_named(self._launch):
            spec = self._launch.training
            fabric = device.make_fabric(
                gpus=self._launch.gpus, threads=threads, deterministic=spec.deterministic
            )
            reference = self._reference()
            network = build_network(reference, self._launch.model, self._plan.seed)
            if self._launch.gpus and spec.deterministic:
                interpolate_exactly(network)
            if final is None or loaded is None:
                steps = self._steps(versions=device.versions(fabric, threads=threads))
                training, narrator = self._new_training(network, fabric, loaded)
                self._training = training
                final = self._train(steps, claim, training, narrator, loaded)
                loaded = steps.load_final(final)
        self._stop.check()
        self._report.phase(TrainerPhase.PUBLISHING)
        self._publish(final, loaded, network, reference)
        steps.remove_all()

    @property
    def last_durable(self) -> StepId | None:
        """The newest state that survives this process."""
        durable = self._saver.durable if self._saver else None
        return durable.id if durable else None

    @property
    def unsaved_seconds(self) -> float:
        """Training time after that state."""
        if self._training is None or self._saver is None:
            return 0.0
        durable = self._saver.durable
        saved = read_state(durable.state).train_seconds if durable else 0.0
        return max(0.0, self._training.state.train_seconds - saved)

    def save_kept(self) -> None:
        """Saves the newest snapshot; for the signal thread. Raises StorageError, Preempted."""
        if self._saver:
            self._saver.save_kept()

    def _reference(self) -> TimeSeriesDataSet:
        frame = self._dataset.sample_frame()
        with warnings.catch_warnings():
            # pandas 3 hands out read-only arrays; the class only reads them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return fitted_dataset(self._statistics, self._launch.model, frame)

    def _steps(self, *, versions: dict[str, str]) -> Steps:
        return Steps(
            self._run_store,
            self._ledger.claims,
            Identity(
                plan_digest=digest_of(self._plan),
                statistics_digest=digest_of(self._statistics),
                configuration_digest=self._plan.configuration_digest,
                versions=versions,
            ),
            self._surroundings.clock,
        )

    def _new_training(
        self,
        network: TemporalFusionTransformer,
        fabric: Fabric,
        loaded: LoadedState | None,
    ) -> tuple[Training, Narrator]:
        spec = self._launch.training
        course = Course(
            epochs=spec.epochs,
            max_steps=spec.max_steps,
            steps_per_epoch=self._statistics.steps_per_epoch,
            chunks=self._plan.split.train_end,
            seed=self._plan.seed,
            learning_rate=float(spec.learning_rate),
            target_weights=tuple(float(target.weight) for target in self._launch.model.targets),
        )
        narrator = Narrator(
            report=self._report,
            course=course,
            say=self._surroundings.say,
            clock=self._surroundings.clock,
            checkpoint_uri=self._run_store.uri,
            resumed_from_step=loaded.id.step if loaded else None,
        )
        training = Training(
            network=network,
            source=self._dataset,
            course=course,
            fabric=fabric,
            check=self._stop.check,
            listener=narrator,
        )
        if loaded:
            state = read_state(loaded.state)
            if self._inexact_reason:
                # The next batch may hold windows of an object that was another one then.
                state = state.model_copy(update={"next_batch_digest": None})
            snapshot = Snapshot(state=state, tensors=loaded.tensors)
            training.restore(snapshot)
            narrator.resumed(snapshot.state, loaded.saved_at)
            narrator.saved(loaded.manifest)
        return training, narrator

    def _train(
        self,
        steps: Steps,
        claim: Claim,
        training: Training,
        narrator: Narrator,
        loaded: LoadedState | None,
    ) -> Final:
        """Trains to the end, saves the last state and names it as the final one."""
        saver = self._saver = Saver(
            lambda snapshot: steps.save(claim, _to_save(snapshot)),
            durable=loaded.manifest if loaded else None,
        )
        checkpoint = self._launch.checkpoint
        pace = Pace(every_chunks=checkpoint.every_chunks, period_seconds=checkpoint.period_seconds)
        try:
            state = training.run(saver, pace)
            manifest = saver.save_now(training.snapshot())
            narrator.saved(manifest)
        except Preempted:
            self._stop.answer()
            self._save_before_leaving(saver, training, narrator)
            raise
        finally:
            saver.close()
        if state.finish is not Finish.EPOCHS:
            self._surroundings.say(f"[RUN] Training ended by {state.finish}")
        return steps.finalize(
            claim,
            manifest.id,
            run_key=self._launch.run_key,
            bundle_name=self._plan.bundle_name,
            windows_digest=state.windows_digest,
            inexact_reason=self._inexact_reason,
        )

    def _save_before_leaving(self, saver: Saver, training: Training, narrator: Narrator) -> None:
        try:
            narrator.saved(saver.save_now(training.snapshot()))
        except (StorageError, Preempted) as error:
            raise StorageUnavailable(
                f"stopped by a signal, and the state of step {training.state.step} could not be "
                f"saved: {error}"
            ) from error
        self._surroundings.say(f"[CHECKPOINT] Saved at step {training.state.step} before leaving")

    def _publish(
        self,
        final: Final,
        loaded: LoadedState,
        network: TemporalFusionTransformer,
        reference: TimeSeriesDataSet,
    ) -> None:
        state = read_state(loaded.state)
        best = best_tensors(Snapshot(state=state, tensors=loaded.tensors))
        content = BundleContent(
            plan=self._plan,
            statistics=self._statistics,
            model=self._launch.model,
            training=self._launch.training,
            final=final,
            manifest=loaded.manifest,
            outcome=_outcome(state),
            network=network_arguments(self._launch.model, len(self._statistics.targets)),
            quantiles=QUANTILES,
            weights=full_state(network, best),
            reference=reference,
        )
        write_bundle(self._output, content)
        self._stop.check()
        who = f"{self._launch.namespace}/{self._launch.name}"
        record = publish(self._output, final.bundle_name, who=who)
        self._report.published(artifact_of(self._output, record), already=False)
        self._surroundings.say(f"[RUN] Published {self._output.uri}/{record.bundle}")

    @property
    def _inexact_reason(self) -> str | None:
        return self._pins.reason if self._pins else None

    def _say_fallbacks(self, loaded: LoadedState | None) -> None:
        for reason in loaded.fallbacks if loaded else ():
            self._surroundings.say(f"[CHECKPOINT] Passed over: {reason}")


def _to_save(snapshot: Snapshot) -> SnapshotToSave:
    return SnapshotToSave(
        step=snapshot.state.step, tensors=snapshot.tensors, state=snapshot.state.to_wire()
    )


def _threads_of(loaded: LoadedState | None) -> int:
    """Returns the first attempt's number of threads, or what this process may use."""
    recorded = loaded.manifest.versions.get(device.THREADS) if loaded else None
    return int(recorded) if recorded else device.usable_cpus()


def _outcome(state: TrainingState) -> Outcome:
    metrics = {
        "train_loss": state.train_loss,
        "val_loss": state.best.val_loss if state.best else None,
        "untrained_val_loss": state.untrained_val_loss,
    }
    return Outcome(
        total_epochs_completed=state.epoch,
        steps=state.step,
        best_epoch=state.best.epoch + 1 if state.best else None,
        metrics={name: value for name, value in metrics.items() if value is not None},
    )


@contextmanager
def _out_of_memory_named(launch: Launch) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ConfigurationError(
            f"OutOfMemory: the GPU's memory is too small for training.batchSize "
            f"{launch.training.batch_size}: use a smaller one ({error})"
        ) from error
