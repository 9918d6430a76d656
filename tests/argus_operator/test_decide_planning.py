"""Planning on a CPU: what it asks for, what its verdict does, and what it never touches."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from argus_contract.progress import ProgressReport, TrainerPhase, Validation
from argus_contract.status import (
    ConditionType,
    DataStatus,
    EndReason,
    PendingSource,
    Phase,
)
from argus_operator.carry_out import Executor
from argus_operator.children import Children
from argus_operator.decision import CreateJob, DeleteJob, DeletePod, ProveJob
from argus_operator.errors import api_error
from argus_operator.observed import Refusal
from argus_operator.views import Hindrance, JobEnd

GOOD = Validation(summary="900 rows of 3 servers")
BAD = Validation(
    summary="900 rows of 3 servers",
    problems=("data.validation.minRows is 1000, and there are 900 rows",),
)
LOST_NODE = Hindrance(reason="DeletionByTaintManager", message="node is gone")


def data(policy: str = "Warn", **limits: Any) -> dict[str, Any]:
    return {"uri": "s3://metrics/edge", "validation": {"policy": policy, **limits}}


@pytest.fixture
def planned(scene: Any) -> Any:
    """A run whose data is to be judged."""
    return scene.spec(data=data())


@pytest.fixture
def words(build: Any) -> Any:
    """Makes the last words of a planning pod."""

    def say(validation: Validation | None = None, **fields: Any) -> ProgressReport:
        found = DataStatus(
            window_start=build.start,
            window_end=build.start,
            files=4,
            bytes=10,
            rows=900,
            servers=3,
            manifest_digest="d",
        )
        known: dict[str, Any] = {"end_reason": EndReason.COMPLETED, "data": found} | fields
        return ProgressReport(
            run_key=build.run_key,
            phase=TrainerPhase.ENDED,
            time=build.start,
            validation=validation,
            **known,
        )

    return say


def planner(scene: Any, name: str = "a", generation: int = 1, **changes: Any) -> Any:
    return scene.running(name, owner_uid=f"plan-{generation}", planning=True, **changes)


def planner_ended(
    scene: Any, report: ProgressReport | None = None, code: int = 0, name: str = "a", **changes: Any
) -> Any:
    return scene.ended(name, code, report=report, owner_uid="plan-1", planning=True, **changes)


def complete(scene: Any, report: ProgressReport | None) -> Any:
    """The planning pod ended well, and so did its Job."""
    planner_ended(scene, report)
    return scene.planning(end=JobEnd.COMPLETE, ended=scene.observed.now)


def data_validated(decision: Any) -> tuple[str, str, str] | None:
    found = [c for c in decision.status.conditions if c.type is ConditionType.DATA_VALIDATED]
    return (found[0].status.value, found[0].reason, found[0].message) if found else None


# --- what is asked for -----------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["Warn", "Enforce"])
def test_a_run_is_planned_before_a_trainer_is_asked_for(
    scene: Any, build: Any, policy: str
) -> None:
    decision = scene.spec(data=data(policy)).decide()
    prove, create = decision.actions
    assert isinstance(prove, ProveJob)
    assert isinstance(create, CreateJob)
    assert (create.name, create.planning) == (f"edge-{build.run_key[:8]}-plan-1", True)
    assert (prove.job.name, prove.job.planning) == (f"edge-{build.run_key[:8]}-1", False)
    assert data_validated(decision) == ("Unknown", "Validating", "")


def test_with_off_the_trainer_plans_and_nobody_is_said_to_have_judged(scene: Any) -> None:
    decision = scene.spec(data=data("Off")).decide()
    (create,) = decision.actions
    assert not create.planning
    assert data_validated(decision) is None


def test_no_planning_is_made_of_a_spec_that_no_trainer_can_be_made_of(planned: Any) -> None:
    hindrance = Hindrance(reason="JobRefused", message="unknown field affinity.x")
    refusal = Refusal(hindrance=hindrance, invalid=True)
    planned.observed = replace(planned.observed, refusal=refusal)
    decision = planned.decide()
    assert decision.actions == ()
    assert decision.status.reason == "JobInvalid"


def test_while_it_is_planned_the_run_validates_and_says_who_reads(planned: Any, words: Any) -> None:
    planned.planning().store()
    assert planned.observed.run.status.phase is Phase.PENDING
    planner(planned)
    decision = planned.store()
    assert (decision.actions, decision.status.phase) == ((), Phase.VALIDATING)
    assert decision.status.reason == "Validating"
    assert decision.status.pending.source is PendingSource.DATA
    assert "Pod a on node-1 reads and judges the data." in decision.status.pending.message
    assert decision.news == (), "a line for each look would be spam"
    planned.says("a", words(message="Waiting for the store.", end_reason=None))
    assert "Waiting for the store." in planned.decide().status.message


def test_no_trainer_is_said_to_have_started(planned: Any, conditions: Any) -> None:
    planner(planned.planning())
    decision = planned.decide()
    assert decision.status.start_time is None
    assert decision.status.attempts == ()
    assert decision.status.disruptions.count == 0
    assert conditions(decision)[ConditionType.PODS_READY] == "False"
    assert conditions(decision)[ConditionType.PROGRESSING] == "False"


@pytest.mark.parametrize(
    ("pod", "phase", "source"),
    [
        (
            {"node": None, "unschedulable": Hindrance(reason="Unschedulable", message="0/3")},
            Phase.PENDING,
            PendingSource.SCHEDULER,
        ),
        (
            {"waiting": Hindrance(reason="ErrImagePull", message="not found")},
            Phase.PENDING,
            PendingSource.IMAGE,
        ),
        (
            {"waiting": Hindrance(reason="CreateContainerConfigError", message="no secret")},
            Phase.PENDING,
            PendingSource.POD,
        ),
    ],
)
def test_a_planning_pod_that_does_not_start_says_why(
    planned: Any, pod: dict[str, Any], phase: Phase, source: PendingSource
) -> None:
    planned.planning().pod(owner_uid="plan-1", planning=True, **pod)
    status = planned.decide().status
    assert (status.phase, status.pending.source) == (phase, source)


def test_planning_that_kueue_holds_back_is_queued(planned: Any) -> None:
    status = planned.planning(suspended=True).decide().status
    assert (status.phase, status.pending.source) == (Phase.QUEUED, PendingSource.KUEUE)


# --- what the verdict does ---------------------------------------------------------------------


def test_good_data_leads_to_the_first_trainer(planned: Any, build: Any, words: Any) -> None:
    planner(planned.planning())
    planned.store()
    decision = complete(planned, words(GOOD)).store()
    (create,) = decision.actions
    assert (create.name, create.planning) == (f"edge-{build.run_key[:8]}-1", False)
    assert data_validated(decision) == ("True", "Passed", "900 rows of 3 servers.")
    assert decision.status.data.rows == 900
    assert [news.reason for news in decision.news] == ["DataValidated"]
    made = planned.job().store()
    assert made.actions == ()
    assert [(n.reason, n.warning) for n in made.news] == [("JobCreated", False)]
    assert made.status.job_name == create.name


def test_data_below_a_limit_is_told_of_and_trained_on(planned: Any, words: Any) -> None:
    planner(planned.planning())
    planned.store()
    decision = complete(planned, words(BAD)).store()
    (create,) = decision.actions
    assert not create.planning
    assert data_validated(decision) == (
        "False",
        "BelowLimits",
        "data.validation.minRows is 1000, and there are 900 rows (900 rows of 3 servers).",
    )
    assert [(news.reason, news.warning) for news in decision.news] == [("BelowLimits", True)]


def test_enforce_ends_the_run_with_the_field_the_value_and_the_way_out(
    scene: Any, words: Any, conditions: Any
) -> None:
    scene.spec(data=data("Enforce", minRows=1000)).planning()
    planner(scene)
    scene.store()
    refused = words(BAD, end_reason=EndReason.DATA, message=f"{BAD.problems[0]}: correct it")
    planner_ended(scene, refused, code=65)
    decision = scene.planning(end=JobEnd.FAILED, end_reason="PodFailurePolicy").store()
    assert decision.actions == ()
    assert (decision.status.phase, decision.status.reason) == (Phase.FAILED, "DataRefused")
    assert decision.status.message == (
        "The planning pod ended with exit code 65: data.validation.minRows is 1000, and there are "
        "900 rows: correct it"
    )
    assert data_validated(decision)[:2] == ("False", "BelowLimits")
    assert conditions(decision)[ConditionType.FAILED] == "True"
    assert decision.status.data.rows == 900
    assert len(decision.news) == 1
    assert scene.decide().actions == ()


@pytest.mark.parametrize(
    ("code", "end", "reason", "judged"),
    [
        (65, EndReason.DATA, "DataError", ("False", "DataError", "nothing here")),
        (78, EndReason.CONFIGURATION, "ConfigurationError", ("Unknown", "NotJudged", "")),
        (77, EndReason.STORAGE_DENIED, "StorageAccessDenied", ("Unknown", "NotJudged", "")),
    ],
)
def test_planning_that_fails_fails_the_run_with_its_own_words(
    planned: Any, words: Any, code: int, end: EndReason, reason: str, judged: tuple[str, ...]
) -> None:
    report = words(end_reason=end, message="nothing here", data=None)
    planner_ended(planned, report, code=code)
    decision = planned.planning(end=JobEnd.FAILED, end_reason="PodFailurePolicy").decide()
    assert (decision.status.phase, decision.status.reason) == (Phase.FAILED, reason)
    assert "nothing here" in decision.status.message
    assert data_validated(decision) == judged


def test_a_planning_pod_without_memory_names_the_chart_value(planned: Any) -> None:
    planner_ended(planned, None, code=137, reason="OOMKilled")
    planned.planning(end=JobEnd.FAILED, end_reason="BackoffLimitExceeded", failed=4)
    status = planned.decide().status
    assert status.reason == "BackoffLimitExceeded"
    assert "with exit code 137, after 4 failed attempts: OOMKilled. Give plann" in status.message
    assert "planning.resources" in status.message


def test_a_run_that_has_published_ends_without_asking_for_a_gpu(
    planned: Any, words: Any, build: Any
) -> None:
    last_year = build.start - timedelta(days=300)
    trained = build.attempt(1, "z", EndReason.COMPLETED, exit_code=0)
    ledger = (trained.model_copy(update={"start": last_year, "end": last_year}),)
    known = build.report(claim=1).disruptions
    found = words(
        already_published=True,
        artifact=build.artifact,
        attempts=ledger,
        disruptions=known,
        data=None,
    )
    decision = complete(planned, found).store()
    assert decision.actions == ()
    assert (decision.status.phase, decision.status.reason) == (Phase.SUCCEEDED, "AlreadyPublished")
    assert decision.status.artifact == build.artifact
    assert [a.pod for a in decision.status.attempts] == ["z"]
    assert decision.status.start_time is None
    assert decision.status.usage.queued_seconds == 3, "planning is no queue"
    assert data_validated(decision)[0] == "Unknown"


def test_a_verdict_that_nobody_heard_does_not_stop_the_run(planned: Any) -> None:
    decision = planned.planning(end=JobEnd.COMPLETE).decide()
    (create,) = decision.actions
    assert not create.planning
    assert data_validated(decision)[:2] == ("True", "ReportLost")


def test_data_that_was_judged_is_not_judged_again(planned: Any, words: Any) -> None:
    complete(planned, words(GOOD)).store()
    planned.no_job().job().running("c").store()
    # Suspended, and let go on; by then nothing is left of the planning.
    planned.spec(data=data(), suspend=True).no_job().ended("c", 75, gone=True).store()
    (create,) = planned.spec(data=data()).decide().actions
    assert (create.name[-2:], create.planning) == ("-2", False)
    assert data_validated(planned.decide())[:2] == ("True", "Passed")


def test_a_trainer_that_is_refused_for_an_hour_needs_no_second_planning(
    planned: Any, words: Any, build: Any
) -> None:
    planner(planned.planning())
    planned.store()
    complete(planned, words(GOOD)).store()
    full = Hindrance(reason="JobRefused", message="exceeded quota: team")
    planned.observed = replace(planned.observed, refusal=Refusal(hindrance=full))
    assert planned.at(4000).store().status.pending.source is PendingSource.QUOTA
    # Meanwhile somebody tidied up.
    planned.observed = replace(planned.observed, refusal=None, jobs=(), pods=())
    (create,) = planned.decide().actions
    assert (create.name, create.planning) == (f"edge-{build.run_key[:8]}-1", False)


class ApiServer:
    """Takes no training Job of this spec."""

    def __init__(self) -> None:
        self.made: list[str] = []

    async def prove_job(self, job: Any) -> None:
        raise api_error(422, "Invalid", "unknown field affinity.x")

    async def create_job(self, job: Any) -> None:
        self.made.append(job["metadata"]["name"])


def test_what_was_to_be_proved_first_and_is_wrong_is_not_planned(planned: Any) -> None:
    server: Any = ApiServer()
    executor = Executor(
        cluster=server,
        children=Children(),
        configuration=planned.configuration,
        clock=lambda: planned.now,
    )
    after = asyncio.run(executor.carry_out(planned.decide().actions, planned.observed))
    assert server.made == []
    assert after.refusal.invalid


def test_a_training_that_was_made_before_there_was_planning_goes_on(planned: Any) -> None:
    decision = planned.job().running().store()
    assert decision.actions == ()
    assert decision.status.job_name.endswith("-1")
    (create,) = planned.no_job().pod(gone=True).decide().actions
    assert (create.name[-2:], create.planning) == ("-2", False)


# --- disruptions, suspension, limits -----------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "said"),
    [
        (75, EndReason.PREEMPTED, "stopped by a signal"),
        (74, EndReason.STORAGE_UNAVAILABLE, "s3://metrics does not answer"),
        (137, None, None),
    ],
)
def test_a_planning_pod_that_ended_early_is_told_of_and_waited_for(
    planned: Any, words: Any, code: int, reason: EndReason | None, said: str | None
) -> None:
    report = words(end_reason=reason, message=said) if reason else None
    decision = planner_ended(planned.planning(), report, code=code).decide()
    assert decision.actions == ()
    assert decision.status.phase is Phase.VALIDATING
    assert f"Planning pod a ended with exit code {code}" in decision.status.message
    assert said is None or said in decision.status.message
    assert decision.status.attempts == ()
    assert decision.status.disruptions.count == 0


def test_planning_that_is_done_waits_for_its_job_and_for_no_other_pod(
    planned: Any, words: Any
) -> None:
    decision = planner_ended(planned.planning(), words(GOOD)).decide()
    assert decision.actions == ()
    assert (decision.status.phase, decision.status.reason) == (Phase.VALIDATING, "Completed")
    assert decision.status.message == "Waiting for the Job to complete."


def test_planning_that_never_gets_to_an_end_is_given_up(planned: Any, words: Any) -> None:
    away = words(end_reason=EndReason.STORAGE_UNAVAILABLE, message="the store is away")
    planned.planning()
    for name in "abcd":
        planner_ended(planned, away, code=74, name=name)
    assert planned.decide().status.phase is Phase.VALIDATING
    planner_ended(planned, away, code=74, name="e")
    decision = planned.store()
    assert (decision.status.phase, decision.status.reason) == (Phase.FAILED, "TooManyDisruptions")
    assert "the store is away" in decision.status.message
    (delete,) = planned.decide().actions
    assert isinstance(delete, DeleteJob)


def test_a_small_budget_of_disruptions_holds_for_planning_too(planned: Any) -> None:
    planned.spec(data=data(), maxDisruptions=0).planning()
    planner_ended(planned, None, code=75)
    assert planned.decide().status.reason == "TooManyDisruptions"


def test_a_planning_pod_on_a_lost_node_is_given_up_and_planned_anew(
    planned: Any, build: Any
) -> None:
    planned.planning().store()
    planner(planned, deleting=True, leave_by=planned.observed.now, disruption=LOST_NODE)
    planned.at(200)
    silent = planned.store()
    assert (silent.status.phase, silent.status.reason) == (Phase.VALIDATING, "NodeUnreachable")
    planned.at(900)
    job, pod = planned.decide().actions
    assert isinstance(job, DeleteJob)
    assert isinstance(pod, DeletePod)
    _, create = planned.no_job().pod(planning=True, owner_uid="plan-1", gone=True).decide().actions
    assert create.name == f"edge-{build.run_key[:8]}-plan-2"


def test_a_planning_job_that_vanished_is_replaced_once_its_pod_is_gone(
    planned: Any, build: Any
) -> None:
    planner(planned.planning())
    planned.store()
    assert planned.no_job().decide().actions == ()
    planner(planned, running=False, gone=True)
    _, create = planned.no_job().decide().actions
    assert create.name == f"edge-{build.run_key[:8]}-plan-2"


def test_a_run_that_is_suspended_while_it_is_planned_gives_the_cpu_back(planned: Any) -> None:
    planner(planned.planning())
    planned.store()
    (delete,) = planned.spec(data=data(), suspend=True).store().actions
    assert isinstance(delete, DeleteJob)
    planned.no_job().ended("a", 75, owner_uid="plan-1", planning=True, gone=True)
    decision = planned.store()
    assert decision.status.phase is Phase.SUSPENDED
    _, create = planned.spec(data=data()).decide().actions
    assert create.name.endswith("-plan-2")


def test_a_deadline_for_the_start_of_a_trainer_counts_planning(planned: Any) -> None:
    planned.spec(data=data(), preRunningDeadlineSeconds=60).planning()
    planner(planned)
    planned.store()
    decision = planned.at(200).decide()
    assert any(isinstance(action, DeleteJob) for action in decision.actions)
    assert decision.status.reason == "PreRunningDeadlineExceeded"
    assert "reads and judges the data" in decision.status.message


def test_a_deadline_for_an_active_run_does_not_count_planning(planned: Any) -> None:
    planned.spec(data=data(), activeDeadlineSeconds=60).planning()
    planner(planned)
    planned.store()
    assert planned.at(900).decide().status.phase is Phase.VALIDATING


def test_planning_is_no_queue_and_costs_no_gpu(planned: Any, words: Any) -> None:
    """It waits 3 s for its planner, plans until 100, and waits another 20 for its trainer."""
    planner(planned.planning())
    assert planned.store().status.usage is None
    assert complete(planned, words(GOOD)).store().status.usage.queued_seconds == 3
    planned.job().at(110).store()
    # Nothing of the planning is left when the trainer starts.
    planned.observed = replace(planned.observed, jobs=planned.observed.trainings, pods=())
    planned.running("k", started=planned.observed.run.created + timedelta(seconds=120))
    for _ in range(2):
        usage = planned.store().status.usage
        assert (usage.queued_seconds, usage.gpu_seconds) == (3 + 20, 0)


def test_nothing_of_planning_is_left_after_the_end(planned: Any, words: Any) -> None:
    planned.spec(data=data(), ttlSecondsAfterFinished=10)
    complete(planned, words(GOOD)).store()
    planned.job().ended("c", 0).job_ended(JobEnd.COMPLETE).store()
    planned.at(1000)
    assert {action.job.uid for action in planned.decide().actions} == {"plan-1", "job-1"}


def test_a_planner_of_an_earlier_resource_of_this_name_says_nothing(
    planned: Any, words: Any
) -> None:
    planned.planning(end=JobEnd.COMPLETE)
    born = planned.observed.run.created - timedelta(hours=1)
    theirs = {"owner_uid": "predecessors-job", "planning": True, "created": born}
    planned.ended("a", report=words(BAD), **theirs)
    assert data_validated(planned.decide())[:2] == ("True", "ReportLost")
