"""A pod that plans a run and trains nothing: on a CPU, before a GPU is asked for.

published already? -> plan and statistics -> verdict -> both are stored -> end

Only a plan that training may begin with is stored: a run that is refused leaves nothing in the
bucket but records of objects (`stats/`), so that the same YAML plans anew once its data is
better. There is no claim: two of them, or one beside a trainer, write the same If-None-Match.
"""

import threading
from dataclasses import replace

from argus_contract.data_spec import ValidationPolicy
from argus_contract.digests import digest_of
from argus_contract.exit_codes import ExitCode
from argus_contract.launch import Launch, LaunchPlanning
from argus_contract.plan import Plan, Statistics
from argus_contract.progress import TrainerPhase
from argus_contract.run_key import configuration_digest
from argus_contract.spec import TrainingSpec
from argus_contract.status import EndReason
from argus_trainer.checkpoints.claims import Claims
from argus_trainer.checkpoints.repins import Repins
from argus_trainer.checkpoints.resume import refuse_without_state
from argus_trainer.checkpoints.run import RunStore
from argus_trainer.data.counts import exact_counts
from argus_trainer.data.heap import keep_heaps_few
from argus_trainer.data.memory import asked_budget, budget_of, mebibytes
from argus_trainer.data.preview import about_run
from argus_trainer.data.room import NoRoom
from argus_trainer.data.verdict import judged, refuse_without_memory
from argus_trainer.errors import ConfigurationError, DataError, ObjectChanged
from argus_trainer.process.earlier import Found, find_bundle
from argus_trainer.process.ends import End
from argus_trainer.process.gpus import check_count
from argus_trainer.process.life import live, write_last_words
from argus_trainer.process.log import Log
from argus_trainer.process.pinning import Pinning, data_status, way_out_before_training
from argus_trainer.process.report import Report
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.storage.open import open_store

NUM_DRAFTS = 3
"""A plan whose objects change while they are read is made anew so often."""


def prepare(launch: Launch, planning: LaunchPlanning, surroundings: Surroundings) -> int:
    """Plans `launch` and returns the exit code. Raises nothing."""
    keep_heaps_few()
    log = Log(surroundings.say, surroundings.clock)
    surroundings = replace(surroundings, say=log.say)
    with log.hears_libraries():
        return live(Preparation(launch, planning, surroundings), surroundings)


class Preparation:
    """The planning of one run in this process."""

    def __init__(
        self, launch: Launch, planning: LaunchPlanning, surroundings: Surroundings
    ) -> None:
        self._launch = launch
        self._planning = planning
        self._surroundings = surroundings
        self._say = surroundings.say
        self.report = Report(launch.run_key, surroundings.clock)
        self._leaving = threading.Lock()
        self._has_left = False

    def go(self) -> None:
        launch, stop = self._launch, self._surroundings.stop
        check_count(launch.gpus)
        run_uri = f"{launch.checkpoint.uri.rstrip('/')}/{launch.run_key}"
        run_store = open_store(run_uri, launch.storage, stopping=stop.overdue)
        output = open_store(launch.output.uri, launch.storage, stopping=stop.overdue)
        claims = Claims(run_store)
        # A damaged bundle is written again by the trainer, which has the network.
        found = find_bundle(launch, output, run_store, claims, self.report, self._surroundings)
        if found is Found.WHOLE:
            return
        stop.check()
        refuse_without_state(run_store, launch.checkpoint.resume_policy)
        self.report.phase(TrainerPhase.PLANNING)
        pinning, runs = Pinning(launch, self._surroundings), RunStore(run_store)
        if stored := runs.plan():
            runs.refuse_changed(
                stored, configuration_digest(launch.data, launch.model, launch.training)
            )
            with way_out_before_training(run_store):
                statistics = runs.statistics() or self._statistics(
                    pinning, stored, pinning.pins(run_store)
                )
            self._judge(stored, statistics)
        else:
            draft, statistics = self._draft(pinning)
            self._judge(draft, statistics)
            stop.check()
            stored = runs.plan_or(lambda: pinning.named(draft, output))
            if _nameless_digest(stored) != digest_of(draft):
                # Another pod was faster, and its listing was another one.
                statistics = self._statistics(pinning, stored, pinning.pins(run_store))
                self._judge(stored, statistics)
        counted = statistics.model_copy(update={"plan_digest": digest_of(stored)})
        runs.statistics_or(lambda: counted)

    def leave(self, end: End) -> None:
        with self._leaving:
            if self._has_left:
                return
            self._has_left = True
            if end.message:
                self._say(f"[PLAN] {end.reason}: {end.message}")
            self.report.ended(end.reason, end.message)
            write_last_words(self.report, self._surroundings)

    def leave_for_stuck_thread(self) -> int:
        end = End(
            exit_code=ExitCode.PREEMPTED,
            reason=EndReason.PREEMPTED,
            message="stopped by a signal that planning did not answer in time, or by a second one: "
            "the next start plans anew, from the records that were kept",
        )
        self.leave(end)
        return end.exit_code

    def drop(self) -> None:
        """Nothing of it outlives it."""

    def _draft(self, pinning: Pinning) -> tuple[Plan, Statistics]:
        """Returns a plan that nobody is bound to yet, and its statistics."""
        for attempt in range(1, NUM_DRAFTS + 1):
            draft = pinning.draft()
            try:
                return draft, self._statistics(pinning, draft, None)
            except ObjectChanged as error:
                if attempt == NUM_DRAFTS:
                    raise
                self._say(f"[DATA] {error}: planning anew")
        raise AssertionError("the last attempt returns or raises")

    def _statistics(self, pinning: Pinning, plan: Plan, pins: Repins | None) -> Statistics:
        # Read within this container's memory, which is not the training's.
        budget = budget_of(TrainingSpec())
        asked = asked_budget(self._launch.training)
        try:
            return pinning.statistics(plan, budget=budget, training_budget=asked, pins=pins)
        except NoRoom as error:
            raise ConfigurationError(
                f"{error.name} takes about {mebibytes(error.needed)} while its rows are decoded, "
                f"and the planning pod has {mebibytes(error.room)} for that: give it more (chart "
                "value planning.resources.limits.memory), write the rows as smaller objects "
                "(argus import does), or let the training pod plan (data.validation.policy Off)"
            ) from error

    def _judge(self, plan: Plan, statistics: Statistics) -> None:
        """Tells what was found. Raises what keeps the run from training on it."""
        launch, validation = self._launch, self._planning.validation
        self.report.data(data_status(plan, statistics))
        counts = exact_counts(plan, launch, statistics)
        for line in about_run(plan, launch, counts, statistics, trains_here=False):
            self._say(f"[PLAN] {line}")
        verdict = judged(plan, statistics, counts, validation)
        self.report.validated(verdict)
        if verdict.problems and validation.policy is ValidationPolicy.ENFORCE:
            raise DataError(
                f"{'; '.join(verdict.problems)}: correct the data and make the run again, or "
                "change the limit (data.validation.policy Warn trains all the same)"
            )
        for problem in verdict.problems:
            self._say(f"[PLAN] warning    {problem}")
        refuse_without_memory(counts.memory, launch.training, self._planning.memory_limit_bytes)


def _nameless_digest(plan: Plan) -> str:
    return digest_of(plan.model_copy(update={"bundle_name": ""}))
