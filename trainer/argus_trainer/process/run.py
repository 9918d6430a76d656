"""The journey of a run, from the launch document to the exit code.

published already? -> GPU? -> data? -> claim, plan, statistics
-> (`attempt`: resume, train, publish) -> end

What comes before `attempt` needs no torch (but for asking for a GPU), so a run that was
published before ends in a second, and a signal finds a thread that listens while the heavy
imports run. A start that is refused before its claim leaves nothing in the bucket.
"""

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from argus_contract.exit_codes import ExitCode
from argus_contract.launch import Launch
from argus_contract.plan import Plan, Statistics
from argus_contract.progress import TrainerPhase
from argus_contract.run_key import configuration_digest
from argus_contract.status import EndReason
from argus_trainer.checkpoints.claims import Claims
from argus_trainer.checkpoints.repins import Repins
from argus_trainer.checkpoints.resume import refuse_without_state
from argus_trainer.checkpoints.run import RunStore
from argus_trainer.data.counts import exact_counts
from argus_trainer.data.heap import give_back, keep_heaps_few
from argus_trainer.data.memory import budget_of
from argus_trainer.data.preview import about_run
from argus_trainer.errors import ArgusError, StuckError
from argus_trainer.process.earlier import Found, find_bundle
from argus_trainer.process.ends import End, end_of
from argus_trainer.process.gpus import check_count, check_gpus
from argus_trainer.process.ledger import Ledger
from argus_trainer.process.life import live, write_last_words
from argus_trainer.process.log import Log
from argus_trainer.process.pinning import Pinning, data_status, way_out_before_training
from argus_trainer.process.report import Report
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.process.traces import Traces
from argus_trainer.process.watchdog import Watchdog, deadline_of, stacks
from argus_trainer.storage.open import open_store
from argus_trainer.storage.store import Store

if TYPE_CHECKING:
    from argus_trainer.process.attempt import Attempt


def run(launch: Launch, surroundings: Surroundings) -> int:
    """Runs `launch` to its end and returns the exit code. Raises nothing."""
    keep_heaps_few()
    log = Log(surroundings.say, surroundings.clock)
    with log.hears_libraries():
        surroundings = replace(surroundings, say=log.say)
        return live(Journey(launch, surroundings, log), surroundings)


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
        self._watchdog.start()
        stop, storage = surroundings.stop, launch.storage
        # Both must still be written to after a stop was asked for.
        run_uri = f"{launch.checkpoint.uri.rstrip('/')}/{launch.run_key}"
        run_store = open_store(run_uri, storage, stopping=stop.overdue)
        output = open_store(launch.output.uri, storage, stopping=stop.overdue)
        claims = Claims(run_store)
        found = find_bundle(launch, output, run_store, claims, self.report, surroundings)
        if found is Found.WHOLE:
            return
        self._mends_bundle = found is Found.DAMAGED
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
        pinning = Pinning(launch, surroundings, self._watchdog.beat)
        pins = pinning.pins(run_store)
        runs = RunStore(run_store)
        plan = runs.plan_or(lambda: self._make_plan(ledger, pinning, output))
        configuration = configuration_digest(launch.data, launch.model, launch.training)
        runs.refuse_changed(plan, configuration)
        with way_out_before_training(run_store):
            statistics = runs.statistics_or(
                lambda: self._make_statistics(ledger, pinning, plan, pins)
            )
        give_back()
        self.report.data(data_status(plan, statistics))
        counts = exact_counts(plan, launch, statistics)
        for line in about_run(plan, launch, counts, statistics):
            surroundings.say(f"[PLAN] {surroundings.wording(line)}")
        counts.memory.shares(budget_of(launch.training))
        stop.check()

        # Seconds of imports: not before it is known that they are needed.
        from argus_trainer.process.attempt import Attempt

        stop.check()
        self._watchdog.beat()
        self._attempt = Attempt(
            launch=launch,
            surroundings=surroundings,
            report=self.report,
            ledger=ledger,
            plan=plan,
            statistics=statistics,
            data=pinning.data,
            run_store=run_store,
            output=output,
            pins=pins,
            traces=traces,
            mends_bundle=self._mends_bundle,
            beat=self._watchdog.beat,
            digests=runs.digests(configuration),
        )
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
            write_last_words(self.report, self.surroundings)

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
        what = "step" if self._attempt else "start"
        message = (
            f"no {what} for {silent_seconds:.0f} s: the log shows where each thread was; raise "
            "progressDeadlineSeconds if it may take that long"
        )
        try:
            if self._attempt:
                self._attempt.save_kept()
        except ArgusError as error:
            message += f"; the newest state is not saved: {error}"
        self.leave(end_of(StuckError(message)))

    def _make_plan(self, ledger: Ledger, pinning: Pinning, output: Store) -> Plan:
        self.report.phase(TrainerPhase.PLANNING)
        draft = pinning.draft()
        # Only now is something written. Without a plan there is no state to go on from.
        ledger.claim(resumed=None)
        return pinning.named(draft, output)

    def _make_statistics(
        self, ledger: Ledger, pinning: Pinning, plan: Plan, pins: Repins | None
    ) -> Statistics:
        ledger.claim(resumed=None)
        self.report.phase(TrainerPhase.PLANNING)
        budget = budget_of(self.launch.training)
        return pinning.statistics(plan, budget=budget, training_budget=budget, pins=pins)


def _prepare_environment(*, exact_gpu: bool) -> None:
    """Sets what torch's libraries read when they are loaded, and at no other time."""
    # Threads that spin while they wait take the CPU from those that work: on a shared node a
    # step of this network's small kernels then takes ten times as long. Threads that sleep at
    # once cost half on an idle one. This is 10 to 50 microseconds of spinning.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if exact_gpu:
        # Without a fixed workspace cuBLAS may sum in another order from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
