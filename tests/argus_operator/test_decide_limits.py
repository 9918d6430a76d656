"""Limits: deadlines, the budget of disruptions, unreachable nodes, the time to live."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from argus_contract.progress import TrainerPhase
from argus_contract.status import Attempt, Disruptions, EndReason, Pending, PendingSource, Phase
from argus_operator.decision import CreateJob, DeleteJob, DeletePod
from argus_operator.views import Hindrance, JobEnd


def second(build: Any, seconds: float) -> Any:
    return build.start + timedelta(seconds=seconds)


# --- deadlines ----------------------------------------------------------------------------


def test_a_run_without_deadlines_waits_and_trains_as_long_as_it_takes(scene: Any) -> None:
    scene.job().pod(node=None)
    assert scene.at(10**8).store().status.phase is Phase.PENDING
    scene.running()
    assert scene.at(2 * 10**8).store().status.phase is Phase.RUNNING


def test_a_run_that_does_not_start_in_time_fails_with_what_it_waited_for(scene: Any) -> None:
    scene.spec(preRunningDeadlineSeconds=60).at(3600).store()
    scene.job()
    scene.pod(node=None, unschedulable=Hindrance(reason="Unschedulable", message="no GPU"))
    early = scene.at(3655).store()
    assert early.status.phase is Phase.PENDING, "it was not seen before second 3600"
    assert early.wake_at == scene.observed.run.created + timedelta(seconds=3660)
    late = scene.at(3660).store()
    assert late.actions == (DeleteJob(job=scene.observed.jobs[0]),)
    assert late.status.phase is Phase.PENDING, "its pod has not left yet"
    assert late.status.reason == "PreRunningDeadlineExceeded"
    scene.observed = scene.no_job().pod(gone=True).observed
    ended = scene.at(3662).store()
    assert (ended.status.phase, ended.status.reason) == (
        Phase.FAILED,
        "PreRunningDeadlineExceeded",
    )
    assert "no GPU" in ended.status.message
    assert ended.status.pending is None
    assert ended.status.completion_time == scene.observed.now
    assert [news.reason for news in ended.news] == ["PreRunningDeadlineExceeded"]


def test_a_run_that_is_not_accepted_does_not_wait_longer_either(scene: Any) -> None:
    scene.spec(preRunningDeadlineSeconds=60).queue("q").at(10).store()
    ended = scene.at(70).decide()
    assert ended.status.phase is Phase.FAILED
    assert "kueue.enabled" in ended.status.message


def test_a_run_that_waited_for_nothing_that_is_known_says_so_once(scene: Any) -> None:
    scene.spec(preRunningDeadlineSeconds=1).job().pod().store()
    for seconds in (110, 120):
        scene.at(seconds).store()
    message = scene.no_job().pod(gone=True).decide().status.message
    assert message.count("preRunningDeadlineSeconds") == 1
    assert "waited for" not in message


def test_a_run_that_has_started_once_is_not_asked_for_its_start_again(scene: Any) -> None:
    scene.spec(preRunningDeadlineSeconds=60).job().running().at(20).store()
    scene.ended(code=75, gone=True).pod("b", node=None)
    assert scene.at(500).decide().status.phase is Phase.PREEMPTED


def test_after_a_suspension_a_trainer_must_start_again_in_time(scene: Any) -> None:
    limit = {"preRunningDeadlineSeconds": 60}
    scene.spec(**limit).job().running().at(20).store()
    scene.spec(**limit, suspend=True).no_job().ended(code=75, gone=True).at(30).store()
    assert scene.at(1000).store().status.phase is Phase.SUSPENDED
    scene.spec(**limit).job(generation=2).at(2000).store()
    assert scene.at(2059).store().actions == ()
    in_time = replace(scene.observed)
    assert len(scene.at(2060).store().actions) == 1
    assert scene.no_job().decide().status.reason == "PreRunningDeadlineExceeded"
    scene.observed = in_time
    started = in_time.now
    scene.running("b", owner_uid="job-2", created=started, started=started).store()
    assert scene.at(10**6).decide().status.phase is Phase.RUNNING


def test_a_run_that_is_active_for_too_long_stops_and_its_last_attempt_is_told(
    scene: Any,
) -> None:
    scene.spec(activeDeadlineSeconds=100).job().running().at(50).store()
    started = scene.observed.run.status.start_time
    before = scene.at(102).store()
    assert before.status.phase is Phase.RUNNING
    assert before.wake_at == started + timedelta(seconds=100)
    late = scene.at(104).store()
    assert late.actions == (DeleteJob(job=scene.observed.jobs[0]),)
    assert (late.status.phase, late.status.reason) == (Phase.RUNNING, "DeadlineExceeded")
    ended = scene.no_job().ended(code=75, gone=True).at(106).store()
    assert (ended.status.phase, ended.status.reason) == (Phase.FAILED, "DeadlineExceeded")
    assert ended.status.attempts[-1].exit_code == 75
    assert "activeDeadlineSeconds" in ended.status.message
    assert scene.decide().actions == ()


def test_a_run_that_ended_before_anyone_looked_has_not_missed_its_deadline(scene: Any) -> None:
    scene.spec(activeDeadlineSeconds=10).job().ended().job_ended(JobEnd.COMPLETE)
    decision = scene.at(10**6).decide()
    assert (decision.status.phase, decision.status.reason) == (Phase.SUCCEEDED, "Published")
    assert decision.actions == ()


def test_a_run_that_is_being_suspended_has_no_deadline(scene: Any) -> None:
    scene.spec(activeDeadlineSeconds=10).job().running().at(5).store()
    scene.spec(activeDeadlineSeconds=10, suspend=True).at(10**6)
    assert scene.store().status.reason == "Suspending"


@pytest.mark.parametrize("deadline", ["preRunningDeadlineSeconds", "activeDeadlineSeconds"])
def test_a_suspension_stops_the_clock_and_starts_it_anew(scene: Any, deadline: str) -> None:
    scene.job()
    if deadline == "activeDeadlineSeconds":
        scene.running()
    scene.spec(**{deadline: 100}).at(50).store()
    scene.spec(**{deadline: 100}, suspend=True).no_job().pod(gone=True).at(60).store()
    assert scene.at(10_000).store().status.phase is Phase.SUSPENDED
    scene.spec(**{deadline: 100}).job(generation=2).at(20_000)
    assert scene.store().actions == ()
    assert scene.at(20_099).store().actions == ()
    assert len(scene.at(20_100).store().actions) == 1
    assert scene.no_job().decide().status.phase is Phase.FAILED


# --- disruptions --------------------------------------------------------------------------


def disrupted(scene: Any, count: int) -> Any:
    disruptions = Disruptions(
        count=count, lost_seconds=0, lost_gpu_seconds=0, last_reason="Preempted"
    )
    return scene.job().status(disruptions=disruptions)


@pytest.mark.parametrize(
    ("allowed", "count", "stops"), [(50, 50, False), (50, 51, True), (0, 0, False), (0, 1, True)]
)
def test_a_run_lives_through_as_many_disruptions_as_it_may(
    scene: Any, allowed: int, count: int, stops: bool
) -> None:
    decision = disrupted(scene.spec(maxDisruptions=allowed), count).store()
    assert [type(action) for action in decision.actions] == ([DeleteJob] if stops else [])
    if stops:
        ended = scene.no_job().decide().status
        assert (ended.phase, ended.reason) == (Phase.FAILED, "TooManyDisruptions")
        assert f"{count} times" in ended.message
        assert "Preempted" in ended.message


def test_a_budget_that_was_raised_in_time_counts(scene: Any) -> None:
    disrupted(scene.spec(maxDisruptions=3), 4)
    assert scene.spec(maxDisruptions=5).decide().actions == ()


def row(build: Any, *steps: tuple[int, int | None], last: EndReason = EndReason.LOST) -> Any:
    """Attempts that ended, each with its first and its last durable step."""
    return tuple(
        Attempt(
            number=number,
            pod=f"p{number}",
            start=second(build, 10 * number),
            end=second(build, 10 * number + 5),
            end_reason=last if number == len(steps) else EndReason.PREEMPTED,
            start_step=start,
            end_step=end,
        )
        for number, (start, end) in enumerate(steps, start=1)
    )


@pytest.mark.parametrize(
    ("steps", "last", "stops"),
    [
        ([(40, None)] * 4, EndReason.LOST, False),
        ([(40, None)] * 5, EndReason.LOST, True),
        ([(0, 0)] * 5, EndReason.PREEMPTED, True),
        ([(0, None)] * 5, EndReason.STORAGE_UNAVAILABLE, True),
        ([(0, None)] * 5, EndReason.CRASHED, False),
        ([*[(40, None)] * 4, (40, 50)], EndReason.PREEMPTED, False),
        ([(40, None)] * 3 + [(50, None)] * 2, EndReason.LOST, False),
        ([(0, 40)] + [(40, None)] * 5, EndReason.LOST, True),
    ],
)
def test_five_disruptions_in_a_row_without_a_durable_step_are_enough(
    scene: Any, build: Any, steps: Any, last: EndReason, stops: bool
) -> None:
    scene.at(500)
    disrupted(scene, len(steps)).status(attempts=row(build, *steps, last=last))
    assert bool(scene.store().actions) is stops
    if stops:
        ended = scene.no_job().decide().status
        assert (ended.phase, ended.reason) == (Phase.FAILED, "DisruptedWithoutProgress")
        assert "periodSeconds" in ended.message


def test_an_attempt_that_has_saved_meanwhile_saves_the_run(scene: Any, build: Any) -> None:
    attempts = row(build, *[(40, None)] * 5)
    disrupted(scene.at(500), 5).status(attempts=attempts, checkpoint=build.checkpoint(41))
    assert scene.decide().actions == ()


def test_attempts_before_a_suspension_are_not_in_the_row(scene: Any, build: Any) -> None:
    scene.spec(suspend=True).at(57).store()
    scene.spec().at(58).job().store()
    disrupted(scene, 5).status(attempts=row(build, *[(40, None)] * 5))
    assert scene.decide().actions == ()


def test_attempts_of_an_earlier_resource_of_this_name_are_not_in_the_row(
    scene: Any, build: Any
) -> None:
    """They are in the bucket's ledger, and the first report of the new one tells them."""
    scene.at(500)
    disrupted(scene, 5).status(attempts=row(build, *[(40, None)] * 5))
    scene.run(created=second(build, 51))
    assert scene.store().actions == ()
    scene.run(created=second(build, 9))
    assert len(scene.store().actions) == 1


# --- unreachable nodes --------------------------------------------------------------------


def lost(scene: Any, build: Any) -> Any:
    """A pod that should have been gone at second 100, and is not."""
    scene.spec(nodeUnreachableSeconds=60).job()
    return scene.running(deleting=True, leave_by=second(build, 100))


def test_a_pod_that_does_not_leave_is_told_and_then_deleted_by_force_with_its_job(
    scene: Any, build: Any
) -> None:
    lost(scene, build)
    leaving = scene.at(101).store()
    assert leaving.status.reason == "PodDeleted"
    assert leaving.wake_at <= second(build, 110)
    overdue = scene.at(110).store()
    assert (overdue.status.phase, overdue.status.reason) == (Phase.PREEMPTED, "NodeUnreachable")
    assert "node-1" in overdue.status.message
    assert [news.reason for news in overdue.news] == ["NodeUnreachable"]
    assert overdue.actions == ()
    assert scene.at(155).store().wake_at == second(build, 160)
    given_up = scene.at(160).store()
    assert given_up.actions == (
        DeleteJob(job=scene.observed.jobs[0]),
        DeletePod(pod=scene.observed.pods[0]),
    )
    scene.no_job().running(gone=True)
    (create,) = scene.decide().actions
    assert isinstance(create, CreateJob)
    assert create.name.endswith("-2")


def test_a_pod_of_a_job_that_is_gone_is_deleted_alone(scene: Any, build: Any) -> None:
    lost(scene, build).store()
    scene.no_job()
    assert scene.at(160).decide().actions == (DeletePod(pod=scene.observed.pods[0]),)


def test_a_suspended_run_does_not_wait_for_a_lost_node_for_ever(scene: Any, build: Any) -> None:
    lost(scene, build).store()
    scene.spec(suspend=True, nodeUnreachableSeconds=60).no_job().at(150)
    waiting = scene.store()
    assert waiting.status.reason == "Suspending"
    assert waiting.wake_at == second(build, 160)
    assert scene.at(160).decide().actions == (DeletePod(pod=scene.observed.pods[0]),)


def test_a_pod_that_has_ended_is_left_to_its_job(scene: Any, build: Any) -> None:
    lost(scene, build).ended(code=75, leave_by=second(build, 100))
    assert scene.at(10_000).decide().actions == ()


# --- the time to live ---------------------------------------------------------------------


@pytest.mark.parametrize("end", list(JobEnd))
def test_job_and_pods_go_when_their_time_is_up_and_the_run_stays(scene: Any, end: JobEnd) -> None:
    scene.spec(ttlSecondsAfterFinished=100).at(50).job().ended().job_ended(end)
    stored = scene.store()
    assert stored.actions == (), "the status comes first"
    waiting = scene.at(149).decide()
    assert waiting.actions == ()
    assert waiting.wake_at == stored.status.completion_time + timedelta(seconds=100)
    due = scene.at(150).decide()
    assert due.actions == (DeleteJob(job=scene.observed.jobs[0]),)
    assert due.status == stored.status
    gone = scene.no_job().decide()
    assert (gone.actions, gone.wake_at) == ((), None)


def test_without_a_time_to_live_nothing_is_removed(scene: Any) -> None:
    scene.at(50).job().ended().job_ended(JobEnd.COMPLETE).store()
    later = scene.at(10**8).decide()
    assert (later.actions, later.wake_at) == ((), None)


def test_a_time_to_live_that_changes_counts_at_once(scene: Any) -> None:
    scene.spec(ttlSecondsAfterFinished=10**6).at(50).job().ended().job_ended(JobEnd.COMPLETE)
    scene.store()
    assert len(scene.spec(ttlSecondsAfterFinished=0).decide().actions) == 1


def test_what_a_run_waited_for_is_kept_while_it_stops(scene: Any, build: Any) -> None:
    pending = Pending(source=PendingSource.IMAGE, message="no such host", since=build.start)
    scene.spec(preRunningDeadlineSeconds=1).job().pod().store()
    scene.status(pending=pending).at(102)
    for _ in range(2):
        assert scene.store().status.pending == pending


# --- what is no reason to stop a run --------------------------------------------------------


@pytest.mark.parametrize(
    "spec", [{"activeDeadlineSeconds": 60}, {"maxDisruptions": 0}, {"suspend": True}]
)
def test_a_run_whose_model_is_published_waits_for_its_job(
    scene: Any, build: Any, spec: dict[str, Any]
) -> None:
    scene.job().ended("a", code=75)
    last = build.report(
        claim=2,
        phase=TrainerPhase.ENDED,
        artifact=build.artifact,
        end_reason=EndReason.COMPLETED,
    )
    scene.running("b").at(30).store()
    scene.spec(**spec).ended("b", report=last)
    decision = scene.at(90).store()
    assert decision.actions == ()
    assert decision.status.phase is Phase.PUBLISHING
    scene.job_ended(JobEnd.COMPLETE)
    assert scene.store().status.phase is Phase.SUCCEEDED


def test_a_trainer_on_a_node_whose_clock_is_behind_has_started(scene: Any, build: Any) -> None:
    limit = {"preRunningDeadlineSeconds": 60}
    scene.spec(**limit).job().running("a").at(20).store()
    scene.spec(**limit, suspend=True).no_job().ended("a", code=75, gone=True).at(30).store()
    assert scene.at(100).store().status.phase is Phase.SUSPENDED
    scene.spec(**limit).at(200).job(generation=2).store()
    born = {"created": second(build, 201), "started": second(build, 195)}
    scene.running("t", owner_uid="job-2", **born)
    assert scene.at(261).store().actions == ()


def test_a_pod_that_is_older_than_its_run_by_another_clock_is_its_trainer(
    scene: Any, build: Any
) -> None:
    scene.spec(preRunningDeadlineSeconds=60).job()
    scene.running("a", created=second(build, -1)).says("a", build.report())
    decision = scene.store()
    assert decision.status.progress.step == 10
    assert scene.at(62).store().actions == ()


def test_a_run_that_is_to_stand_still_has_no_deadline_to_start(scene: Any) -> None:
    scene.spec(preRunningDeadlineSeconds=60, suspend=True).queue("q").at(10).store()
    assert scene.at(71).store().status.reason == "KueueNotEnabled"
