"""The journey of a run, from the launch document to the exit code.

published already? -> GPU? -> data? -> claim, plan, statistics
-> (`attempt`: resume, train, publish) -> end

What comes before `attempt` needs no torch (but for asking for a GPU), so a run that was
published before ends in a second, and a signal finds a thread that listens while the heavy
imports run. A start that is refused before its claim leaves nothing in the bucket.
"""

import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from argus_contract import layout
from argus_contract.data_spec import OnChange
from argus_contract.exit_codes import ExitCode
from argus_contract.launch import Launch
from argus_contract.plan import Plan, Statistics
from argus_contract.progress import TrainerPhase
from argus_contract.run_key import configuration_digest
from argus_contract.spec import ExistingBundlePolicy
from argus_contract.status import DataStatus, EndReason
from argus_trainer.bundle.publish import artifact_of, reserve_name
from argus_trainer.bundle.records import find_published, mend_current
from argus_trainer.bundle.whole import damage_of
from argus_trainer.checkpoints.claims import Claims
from argus_trainer.checkpoints.repins import Repins
from argus_trainer.checkpoints.resume import refuse_without_state
from argus_trainer.checkpoints.run import RunStore
from argus_trainer.checkpoints.verification import final_state_stands
from argus_trainer.data.counts import exact_counts
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.heap import give_back, keep_heaps_few
from argus_trainer.data.memory import SurveyShares, budget_of
from argus_trainer.data.plan import make_plan
from argus_trainer.data.preview import about_counts, about_notes, about_plan
from argus_trainer.data.record_cache import RecordCache
from argus_trainer.data.statistics import make_statistics
from argus_trainer.data.targets import check_targets
from argus_trainer.errors import (
    ArgusError,
    ConfigurationError,
    DataError,
    ObjectChanged,
    StuckError,
)
from argus_trainer.process.earlier import lineage_of, metrics_of
from argus_trainer.process.ends import COMPLETED, End, end_of
from argus_trainer.process.gpus import check_count, check_gpus
from argus_trainer.process.ledger import Ledger
from argus_trainer.process.log import Log
from argus_trainer.process.report import Report
from argus_trainer.process.server import ProgressServer
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.process.traces import Traces, with_traces
from argus_trainer.process.watchdog import Watchdog, deadline_of, stacks
from argus_trainer.storage.open import open_source, open_store
from argus_trainer.storage.store import Source, Store
from argus_trainer.wording import counted

if TYPE_CHECKING:
    from argus_trainer.process.attempt import Attempt


def run(launch: Launch, surroundings: Surroundings) -> int:
    """Runs `launch` to its end and returns the exit code. Raises nothing."""
    keep_heaps_few()
    log = Log(surroundings.say, surroundings.clock)
    with log.hears_libraries():
        return _run(Journey(launch, replace(surroundings, say=log.say), log))


def _run(journey: "Journey") -> int:
    surroundings = journey.surroundings
    surroundings.stop.on_no_answer(journey.leave_for_stuck_thread)
    server: ProgressServer | None = None
    try:
        if surroundings.progress_address:
            host, port = surroundings.progress_address
            server = ProgressServer(lambda: journey.report.newest, host=host, port=port)
        journey.go()
        end = COMPLETED
    # The last line of defence: whatever it is, it must reach the ledger and the last words.
    except Exception as error:
        end = end_of(error)
        if end.reason is EndReason.CRASHED:
            surroundings.say(traceback.format_exc().rstrip())
    surroundings.stop.answer()
    journey.leave(end)
    journey.drop()
    if server:
        server.close()
    return end.exit_code


class Journey:
    """One run in this process: its stores, its report and its place in the ledger."""

    def __init__(self, launch: Launch, surroundings: Surroundings, log: Log) -> None:
        """`surroundings.say` says lines to `log`."""
        self.launch = launch
        self.surroundings = surroundings
        self._log = log
        self._traces: Traces | None = None
        self._watchdog = Watchdog(
            deadline_of(launch.progress_deadline_seconds, launch.storage.outage_tolerance_seconds),
            self._leave_stuck,
        )
        self.report = Report(launch.run_key, surroundings.clock)
        self._ledger: Ledger | None = None
        self._attempt: Attempt | None = None
        self._mends_bundle = False
        self._leaving = threading.Lock()
        self._has_left = False

    def go(self) -> None:
        """Goes all the way. Raises ArgusError where it ends early."""
        launch, surroundings = self.launch, self.surroundings
        check_count(launch.gpus)
        stop, storage = surroundings.stop, launch.storage
        # Both must still be written to after a stop was asked for.
        run_uri = f"{launch.checkpoint.uri.rstrip('/')}/{launch.run_key}"
        run_store = open_store(run_uri, storage, stopping=stop.overdue)
        output = open_store(launch.output.uri, storage, stopping=stop.overdue)
        claims = Claims(run_store)
        if self._is_published(output, run_store, claims):
            return
        stop.check()
        refuse_without_state(run_store, launch.checkpoint.resume_policy)
        _prepare_environment(exact_gpu=launch.training.deterministic and launch.gpus > 0)
        # Before the statistics, which may take an hour.
        check_gpus(launch.gpus)
        stop.check()
        traces = self._traces = Traces(run_store, self._log)
        ledger = self._ledger = Ledger(
            claims,
            store=run_store,
            report=self.report,
            gpus=launch.gpus,
            surroundings=surroundings,
            traces=traces,
        )
        data = open_source(launch.data.uri, storage, stopping=stop.requested)
        pins = self._pins(run_store)
        runs = RunStore(run_store)
        plan = runs.plan_or(lambda: self._make_plan(ledger, data, output))
        configuration = configuration_digest(launch.data, launch.model, launch.training)
        runs.refuse_changed(plan, configuration)
        with _way_out_before_training(run_store):
            statistics = runs.statistics_or(lambda: self._make_statistics(ledger, data, plan, pins))
        give_back()
        self.report.data(_data_status(plan, statistics))
        counts = exact_counts(plan, launch, statistics)
        for line in (
            *about_plan(plan),
            *about_counts(plan, launch, counts),
            *about_notes((*plan.notes, *statistics.notes)),
        ):
            surroundings.say(f"[PLAN] {line}")
        stop.check()

        # Seconds of imports: not before it is known that they are needed.
        from argus_trainer.process.attempt import Attempt

        stop.check()
        self._attempt = Attempt(
            launch=launch,
            surroundings=surroundings,
            report=self.report,
            ledger=ledger,
            plan=plan,
            statistics=statistics,
            data=data,
            run_store=run_store,
            output=output,
            pins=pins,
            traces=traces,
            mends_bundle=self._mends_bundle,
            beat=self._watchdog.beat,
            digests=runs.digests(configuration),
        )
        self._watchdog.start()
        self._attempt.run()

    def leave(self, end: End) -> None:
        """Records the end, in the ledger and in the last words. Only the first call counts."""
        with self._leaving:
            if self._has_left:
                return
            self._has_left = True
            # What follows is for people: it must not wait through another outage.
            self.surroundings.stop.hurry()
            if end.message:
                end = replace(end, message=self.surroundings.wording(end.message))
            if self._ledger:
                attempt = self._attempt
                self._ledger.end(
                    end,
                    last_durable=attempt.last_durable if attempt else None,
                    lost_seconds=attempt.unsaved_seconds if attempt else 0.0,
                )
            if end.message:
                self.surroundings.say(f"[RUN] {end.reason}: {end.message}")
            is_hastened = self.surroundings.stop.is_hastened
            if self._ledger and self._traces and self._ledger.number and not is_hastened:
                self._traces.upload(self._ledger.number)
                self._ledger.tell()
            self.report.ended(end.reason, end.message)
            self._write_last_words()

    def leave_for_stuck_thread(self) -> int | None:
        """Saves what there is and leaves, in place of a main thread that does not answer.

        Returns None, and leaves nothing, when it has answered meanwhile: it has a newer state.
        """
        end = End(
            exit_code=ExitCode.PREEMPTED,
            reason=EndReason.PREEMPTED,
            message="stopped by a signal that the training did not answer in time: the next start "
            "goes on from the newest state that was kept",
        )
        try:
            if self._attempt:
                self._attempt.save_kept()
        # Whatever it is: nobody but this thread ends the process now.
        except Exception as error:
            end = End(
                exit_code=ExitCode.STORAGE_UNAVAILABLE,
                reason=EndReason.PREEMPTED,
                message=f"stopped by a signal; the newest state is not saved: {error}",
            )
        if self.surroundings.stop.is_answered:
            return None
        self.leave(end)
        return end.exit_code

    def drop(self) -> None:
        """Ends what would outlive the run in this process."""
        self._watchdog.close()
        if self._traces:
            self._traces.close()

    def _leave_stuck(self, silent_seconds: float) -> None:
        """Saves what there is and leaves, in place of a main thread that makes no step."""
        self.surroundings.stop.hurry()
        for stack in stacks():
            self.surroundings.say(stack)
        message = (
            f"no step for {silent_seconds:.0f} s: the log shows where each thread was; raise "
            "progressDeadlineSeconds if a step may take that long"
        )
        try:
            if self._attempt:
                self._attempt.save_kept()
        except ArgusError as error:
            message += f"; the newest state is not saved: {error}"
        self.leave(end_of(StuckError(message)))

    def _write_last_words(self) -> None:
        path = self.surroundings.termination_path
        try:
            if path:
                self.report.write_last_words(path)
        except OSError as error:
            # They only repeat what the bucket and /progress said: no reason to fail.
            self.surroundings.say(f"[RUN] {path} cannot be written: {error.strerror}")

    def _is_published(self, output: Store, run_store: Store, claims: Claims) -> bool:
        launch = self.launch
        record = find_published(output, launch.run_key)
        if record is None:
            return False
        if launch.output.existing_bundle_policy is not ExistingBundlePolicy.FAIL:
            damage = damage_of(output, record)
            if damage:
                self._mends_bundle = self._will_mend(damage, run_store)
                return False
        try:
            mend_current(output)
        except ArgusError as error:
            self.surroundings.say(f"[RUN] CURRENT is not brought up to date: {error}")
        self.report.published(artifact_of(output, record), already=True)
        self.report.metrics(metrics_of(output, run_store, record))
        if lineage := lineage_of(run_store):
            self.report.lineage(lineage)
        attempts = with_traces(claims.attempts(), run_store)
        self.report.ledger(attempts, claims.disruptions(launch.gpus))
        if launch.output.existing_bundle_policy is ExistingBundlePolicy.FAIL:
            raise ConfigurationError(
                f"AlreadyPublished: this very run published {output.uri}/{record.bundle}; change "
                "spec.runToken to train again, or use output.existingBundlePolicy Reuse"
            )
        self.surroundings.say(
            f"[RUN] Already published: {output.uri}/{record.bundle}. To train again, "
            + self.surroundings.wording("change spec.runToken")
        )
        return True

    def _will_mend(self, damage: str, run_store: Store) -> bool:
        """Returns True: the bundle is written again. Raises DataError when it cannot be."""
        if not final_state_stands(run_store):
            raise DataError(
                f"{damage}; the state that it was made of was removed after publication: restore "
                "the bundle from a copy, or change spec.runToken to train again"
            )
        self.surroundings.say(f"[RUN] {damage}; it is written again from {layout.FINAL}")
        return True

    def _pins(self, run_store: Store) -> Repins | None:
        if self.launch.data.on_change is not OnChange.REPIN:
            return None
        pins = Repins(run_store, self.surroundings.say)
        if pins.reason:
            self.surroundings.say(f"[DATA] This run is not exact: {pins.reason}")
        return pins

    def _make_plan(self, ledger: Ledger, data: Source, output: Store) -> Plan:
        self.report.phase(TrainerPhase.PLANNING)
        now = self.surroundings.clock()
        self.surroundings.say(f"[DATA] Planning from {data.uri}")
        nameless = make_plan(data, self.launch, created_at=now, bundle_name="")
        check_targets(data, nameless, self.launch)
        # Only now is something written. Without a plan there is no state to go on from.
        ledger.claim(resumed=None)
        name = reserve_name(output, self.launch.run_key, now)
        return nameless.model_copy(update={"bundle_name": name})

    def _make_statistics(
        self, ledger: Ledger, data: Source, plan: Plan, pins: Repins | None
    ) -> Statistics:
        ledger.claim(resumed=None)
        self.report.phase(TrainerPhase.PLANNING)
        chunks = counted(len(plan.objects), "chunk")
        self.surroundings.say(f"[DATA] Reading {chunks} for statistics")
        launch, stop = self.launch, self.surroundings.stop
        shared = open_store(launch.checkpoint.uri, launch.storage, stopping=stop.overdue)
        shares = SurveyShares.of(plan, budget_of(launch.training))
        cache = RecordCache(
            shared,
            launch.data,
            launch.model,
            say=self.surroundings.say,
            most_bytes=shares.record_bytes,
        )
        with Fetcher(
            data, max_bytes=shares.fetch_bytes, slice_bytes=shares.slice_bytes, pins=pins
        ) as fetcher:
            return make_statistics(
                fetcher,
                plan,
                launch.data,
                launch.model,
                launch.training,
                cache=cache,
                decode_bytes=shares.decode_bytes,
                check=stop.check,
            )


@contextmanager
def _way_out_before_training(run_store: Store) -> Iterator[None]:
    """Says how a run goes on whose data changed after its plan and before its first step."""
    try:
        yield
    except ObjectChanged as error:
        raise ObjectChanged(
            f"{error}; nothing is trained yet: to plan anew with the data of now, delete "
            f"{run_store.uri}/ and start the run again"
        ) from error


def _prepare_environment(*, exact_gpu: bool) -> None:
    """Sets what torch's libraries read when they are loaded, and at no other time."""
    # Threads that spin while they wait take the CPU from those that work: on a shared node a
    # step of this network's small kernels then takes ten times as long. Threads that sleep at
    # once cost half on an idle one. This is 10 to 50 microseconds of spinning.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if exact_gpu:
        # Without a fixed workspace cuBLAS may sum in another order from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def _data_status(plan: Plan, statistics: Statistics) -> DataStatus:
    files = plan.files()
    return DataStatus(
        window_start=plan.window.start,
        window_end=plan.window.end,
        files=len(files),
        bytes=sum(entry.size for entry in files),
        rows=statistics.rows,
        servers=len(statistics.servers),
        manifest_digest=plan.manifest_digest,
    )
