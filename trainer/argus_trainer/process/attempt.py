"""One attempt: resume, train, name the final state, write the bundle, publish.

Imports torch and pytorch-forecasting. Everything that the bundle is made of comes from the
final state in the bucket, so an attempt that dies while publishing is repeated to the byte.
"""

import warnings
from collections.abc import Callable

from lightning.fabric import Fabric
from pytorch_forecasting import TimeSeriesDataSet
from pytorch_forecasting.models import TemporalFusionTransformer

from argus_contract import layout
from argus_contract.launch import Launch
from argus_contract.layout import StepId
from argus_contract.ledger import Claim, Divergence, Final
from argus_contract.plan import Plan, Statistics
from argus_contract.progress import TrainerPhase
from argus_contract.status import Lineage
from argus_trainer.bundle.content import BundleContent, Outcome
from argus_trainer.bundle.publish import artifact_of, publish
from argus_trainer.bundle.write import write_bundle
from argus_trainer.checkpoints.exactness import difference
from argus_trainer.checkpoints.resume import state_to_resume
from argus_trainer.checkpoints.state import LoadedState, Maker, SnapshotToSave
from argus_trainer.checkpoints.steps import Steps
from argus_trainer.checkpoints.verification import Digests
from argus_trainer.data.dataset import Dataset
from argus_trainer.data.memory import Memory, budget_of
from argus_trainer.data.pins import Pins
from argus_trainer.data.reference import fitted_dataset
from argus_trainer.data.rules import Rules
from argus_trainer.data.windows import WindowRules
from argus_trainer.errors import (
    ArgusError,
    Preempted,
    StorageError,
    StorageUnavailable,
)
from argus_trainer.model.interpolation import interpolate_exactly
from argus_trainer.model.network import QUANTILES, build_network, full_state, network_arguments
from argus_trainer.process import device
from argus_trainer.process.curves import Curves
from argus_trainer.process.ledger import Ledger
from argus_trainer.process.listeners import Listeners
from argus_trainer.process.narrator import Narrator
from argus_trainer.process.report import Report
from argus_trainer.process.stop import HOW_TO_HURRY
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.process.traces import Traces
from argus_trainer.storage.records import write_new
from argus_trainer.storage.store import Source, Store
from argus_trainer.training.course import Course
from argus_trainer.training.divergence import BatchDiverged
from argus_trainer.training.loop import Training, best_tensors
from argus_trainer.training.pace import RETRY_SECONDS, Pace
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
        traces: Traces,
        mends_bundle: bool,
        beat: Callable[[], None],
        digests: Digests,
    ) -> None:
        """`beat` is called after each part of a step.

        `mends_bundle`: the run was published, and its bundle is damaged.
        """
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
        self._traces = traces
        self._mends_bundle = mends_bundle
        self._beat = beat
        self._digests = digests
        self._resumed_inexactly: str | None = None
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
        loaded = (
            steps.load_final(final)
            if final
            else state_to_resume(
                steps, self._launch.checkpoint.resume_policy, self._surroundings.say
            )
        )
        claim = self._ledger.claim(resumed=loaded.id if loaded else None)
        threads = _threads_of(loaded)
        self._report.phase(TrainerPhase.TRAINING)
        spec = self._launch.training
        with device.names_its_memory(spec.batch_size):
            fabric = device.make_fabric(
                gpus=self._launch.gpus, threads=threads, deterministic=spec.deterministic
            )
            reference = self._reference()
            network = build_network(reference, self._launch.model, self._plan.seed)
            if self._launch.gpus and spec.deterministic:
                interpolate_exactly(network)
            if final is None or loaded is None:
                versions = device.versions(fabric, threads=threads) | self._image()
                self._note_exactness(loaded, versions)
                steps = self._steps(versions=versions)
                training, narrator = self._new_training(network, fabric, loaded)
                self._training = training
                final = self._train(steps, claim, training, narrator, loaded)
                loaded = steps.load_final(final)
        self._stop.check()
        self._report.phase(TrainerPhase.PUBLISHING)
        self._report.lineage(Lineage.of(final.inexact_reason))
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
            self._digests,
            maker=Maker(versions=versions, inexact_reason=lambda: self._inexact_reason),
            keep_last=self._launch.checkpoint.keep_last,
            clock=self._surroundings.clock,
        )

    def _image(self) -> dict[str, str]:
        return {"image": self._launch.image} if self._launch.image else {}

    def _note_exactness(self, loaded: LoadedState | None, versions: dict[str, str]) -> None:
        """Records whether this attempt computes what an undisturbed run would, and says if not."""
        if loaded:
            manifest = loaded.manifest
            found = difference(manifest.versions, versions, loaded.id)
            self._resumed_inexactly = manifest.inexact_reason or found
            if found:
                self._surroundings.say(f"[CHECKPOINT] This run is not exact: {found}")
        self._report.lineage(Lineage.of(self._inexact_reason))

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
        curves = self._traces.curves = Curves()
        training = Training(
            network=network,
            source=self._dataset,
            course=course,
            fabric=fabric,
            check=self._check_part,
            listener=Listeners(narrator, curves),
        )
        if loaded:
            state = read_state(loaded.state)
            if self._pins and self._pins.reason:
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
            tolerance_seconds=self._launch.storage.outage_tolerance_seconds,
            tell=narrator.saving,
        )
        checkpoint = self._launch.checkpoint
        pace = Pace(every_chunks=checkpoint.every_chunks, period_seconds=checkpoint.period_seconds)
        try:
            state = training.run(saver, pace)
            manifest = saver.save_last(
                training.snapshot(), wait=lambda: self._stop.pause(RETRY_SECONDS)
            )
            narrator.saved(manifest)
        except Preempted:
            self._stop.answer()
            self._save_before_leaving(saver, training, narrator)
            raise
        except BatchDiverged as error:
            self._dump(claim, error, saver, training)
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
        step = training.state.step
        self._surroundings.say(f"[CHECKPOINT] Saving step {step} before leaving ({HOW_TO_HURRY})")
        try:
            narrator.saved(saver.save_now(training.snapshot()))
        except (StorageError, Preempted) as error:
            raise StorageUnavailable(
                f"stopped by a signal, and the state of step {step} could not be saved: {error}"
            ) from error
        self._surroundings.say(f"[CHECKPOINT] Saved at step {step} before leaving")

    def _dump(self, claim: Claim, error: BatchDiverged, saver: Saver, training: Training) -> None:
        """Leaves what replays the batch: the state before it, and its place. Best effort."""
        batch, key = error.batch, layout.claim_dump(claim.number)
        state: StepId | None = None
        try:
            state = saver.save_now(training.snapshot()).id
        except ArgusError as reason:
            self._surroundings.say(f"[RUN] The state before it is not saved: {reason}")
        norm = batch.gradient_norm
        try:
            write_new(
                self._run_store,
                key,
                Divergence(
                    number=claim.number,
                    part=batch.part,
                    epoch=batch.state.epoch,
                    step_of_epoch=batch.state.step_of_epoch,
                    step=batch.state.step,
                    seed=batch.seed,
                    loss=str(batch.loss),
                    gradient_norm=None if norm is None else str(norm),
                    window_ids=tuple(batch.window_ids.tolist()),
                    state=state,
                ),
            )
        except ArgusError as reason:
            self._surroundings.say(f"[RUN] {key} is not written: {reason}")
        else:
            self._surroundings.say(f"[RUN] {self._run_store.uri}/{key} names the batch")

    def _check_part(self) -> None:
        """A part of a step is done."""
        self._beat()
        self._stop.check()

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
        write_bundle(self._output, content, mends=self._mends_bundle)
        self._stop.check()
        who = f"{self._launch.namespace}/{self._launch.name}"
        record = publish(self._output, final.bundle_name, who=who)
        self._report.published(artifact_of(self._output, record), already=False)
        self._surroundings.say(f"[RUN] Published {self._output.uri}/{record.bundle}")

    @property
    def _inexact_reason(self) -> str | None:
        return self._resumed_inexactly or (self._pins.reason if self._pins else None)


def _to_save(snapshot: Snapshot) -> SnapshotToSave:
    return SnapshotToSave(
        step=snapshot.state.step,
        tensors=snapshot.tensors,
        state=snapshot.state.to_wire(),
        ends_training=snapshot.state.finish is not None,
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
