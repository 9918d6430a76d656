"""While a trainer runs, is disrupted, goes on, and ends."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from argus_contract.exit_codes import ExitCode
from argus_contract.progress import TrainerPhase
from argus_contract.status import ConditionType, Disruptions, EndReason, Lineage, Phase
from argus_operator.policies.columns import duration
from argus_operator.policies.headline import UNKNOWN_AFTER
from argus_operator.views import Hindrance, JobEnd

EVICTED = {
    "deleting": True,
    "disruption": Hindrance(reason="EvictionByEvictionAPI", message="Eviction API: evicting"),
}


@pytest.mark.parametrize(
    ("trainer", "phase", "reason"),
    [
        (TrainerPhase.STARTING, Phase.STARTING, "TrainerStarting"),
        (TrainerPhase.PLANNING, Phase.STARTING, "Planning"),
        (TrainerPhase.TRAINING, Phase.RUNNING, "Training"),
        (TrainerPhase.PUBLISHING, Phase.PUBLISHING, "Publishing"),
    ],
)
def test_the_phase_is_what_the_trainer_does(
    scene: Any, build: Any, trainer: TrainerPhase, phase: Phase, reason: str
) -> None:
    status = scene.job().running().says("a", build.report(phase=trainer)).decide().status
    assert (status.phase, status.reason) == (phase, reason)


def test_what_the_trainer_reports_is_the_status(scene: Any, build: Any) -> None:
    report = build.report(step=61, checkpoint=build.checkpoint(60))
    status = scene.job().running().says("a", report).decide().status
    assert status.progress == report.progress
    assert status.metrics == report.metrics
    assert status.checkpoint == report.checkpoint
    assert status.attempts == report.attempts
    assert status.columns.eta == "39s"
    assert status.columns.val_loss == "0.0831"
    assert status.columns.node == "node-1"
    assert status.start_time == scene.observed.pods[0].started


def test_a_report_of_another_run_is_not_believed(scene: Any, build: Any) -> None:
    stranger = build.report().model_copy(update={"run_key": "of-someone-else"})
    assert scene.job().running().says("a", stranger).decide().status.progress is None


def test_a_trainer_that_does_not_answer_is_unknown_and_not_stalled(
    scene: Any, conditions: Any
) -> None:
    scene.job().running().says("a", None, "connection refused")
    early = scene.at(30).decide()
    assert early.status.phase is Phase.STARTING
    late = scene.at(300).decide()
    assert (late.status.phase, late.status.reason) == (Phase.RUNNING, "ProgressUnknown")
    assert "connection refused" in late.status.message
    assert conditions(late)[ConditionType.PROGRESSING] == "Unknown"
    assert conditions(late)[ConditionType.FAILED] == "False"


def test_a_young_trainer_is_asked_often_and_many_runs_share_the_budget(
    scene: Any, build: Any
) -> None:
    scene.job().running().says("a", build.report())
    young = scene.at(20).decide()
    assert young.wake_at - scene.observed.now == timedelta(seconds=5)
    old = scene.at(200).decide()
    assert old.wake_at - scene.observed.now == timedelta(seconds=15)
    object.__setattr__(scene.observed, "num_active", 1000)
    crowded = scene.decide()
    assert crowded.wake_at - scene.observed.now == timedelta(seconds=100)


def test_an_evicted_run_is_preempted_until_its_successor_runs(scene: Any, build: Any) -> None:
    scene.job().running().says("a", build.report(step=40)).store()
    leaving = scene.running(**EVICTED).store()
    assert (leaving.status.phase, leaving.status.reason) == (
        Phase.PREEMPTED,
        "EvictionByEvictionAPI",
    )
    assert leaving.status.progress.step == 40
    assert scene.ended(code=75, gone=True).store().status.phase is Phase.PREEMPTED
    assert scene.pod("b", node=None).store().status.phase is Phase.PREEMPTED
    assert scene.pod("b").store().status.phase is Phase.PREEMPTED
    assert scene.running("b").store().status.phase is Phase.RUNNING
    resumed = build.report(claim=2, step=41, checkpoint=build.checkpoint(41, resumed=40))
    status = scene.says("b", resumed).store().status
    assert status.phase is Phase.RUNNING
    assert status.checkpoint.resumed_from_step == 40
    assert status.disruptions.count == 1


def test_the_end_that_the_operator_saw_is_counted_once(scene: Any, build: Any) -> None:
    scene.job().running().says("a", build.report()).store()
    scene.ended(code=75, gone=True, **{k: v for k, v in EVICTED.items() if k != "deleting"})
    for _ in range(3):
        status = scene.store().status
    assert status.disruptions.count == 1
    assert status.disruptions.last_reason == "Preempted"
    (attempt,) = status.attempts
    assert (attempt.pod, attempt.exit_code, attempt.end_reason) == ("a", 75, EndReason.PREEMPTED)
    assert attempt.node == "node-1"


def test_the_ledger_of_the_successor_replaces_what_the_operator_noted(
    scene: Any, build: Any
) -> None:
    scene.job().ended(code=137, gone=True).store()
    scene.running("b").says("b", build.report(claim=2))
    status = scene.decide().status
    assert [(a.number, a.pod) for a in status.attempts] == [(1, "a"), (2, "b")]
    assert status.attempts[0].end_reason is EndReason.PREEMPTED, "the ledger is the truth"
    assert status.attempts[0].exit_code == 137, "and the operator adds what only it saw"
    assert status.disruptions.count == 1


def test_a_pod_that_died_before_it_claimed_the_run_does_not_hide_later_reports(
    scene: Any, build: Any
) -> None:
    scene.job().ended("a", code=1).ended("b", code=1).store()
    assert [a.number for a in scene.observed.run.status.attempts] == [1, 2]
    first_claim = build.report(claim=1, attempts=(build.attempt(1, "c"),))
    status = scene.running("c").says("c", first_claim).decide().status
    assert [(a.number, a.pod) for a in status.attempts] == [(1, "c")]
    assert status.progress is not None


def test_an_old_pods_last_words_do_not_undo_what_a_newer_pod_said(scene: Any, build: Any) -> None:
    scene.job().running("b").says("b", build.report(claim=2, step=80)).store()
    # The operator restarts: the report of b is forgotten, the last words of a are read again.
    object.__setattr__(scene.observed, "polls", {})
    scene.ended("a", code=75, report=build.report(claim=1, step=30))
    assert scene.decide().status.progress.step == 80


def test_what_its_pod_tells_of_a_death_corrects_the_successors_guess(
    scene: Any, build: Any
) -> None:
    """A process killed for its memory writes nothing: its successor can only call it Lost."""
    scene.job().ended("a", 137, reason="OOMKilled").store()
    assert scene.observed.run.status.attempts[0].end_reason is EndReason.OOM_KILLED
    attempts = (
        build.attempt(1, "a", EndReason.LOST, lost_seconds=3),
        build.attempt(2, "b"),
    )
    report = build.report(
        claim=2,
        attempts=attempts,
        disruptions=Disruptions(count=1, lost_seconds=3, lost_gpu_seconds=0),
    )
    for _ in range(2):
        scene.running("b").says("b", report).store()
        status = scene.observed.run.status
        first = status.attempts[0]
        assert (first.end_reason, first.exit_code) == (EndReason.OOM_KILLED, 137)
        assert first.lost_seconds == 3
        assert (status.disruptions.count, status.disruptions.lost_seconds) == (0, 3)
        # The pod goes; what was seen of it stays.
        scene.observed = replace(
            scene.observed, pods=tuple(p for p in scene.observed.pods if p.name != "a")
        )


def test_a_trainers_own_last_word_outlives_its_pod(scene: Any, build: Any) -> None:
    """The store was away: its word stood nowhere but in the pod, and its successor says Lost."""
    word = build.report(end_reason=EndReason.STORAGE_UNAVAILABLE, attempts=())
    scene.job().ended("a", 74, report=word).store()
    scene.observed = replace(scene.observed, pods=())
    attempts = (build.attempt(1, "a", EndReason.LOST), build.attempt(2, "b"))
    disruptions = Disruptions(count=1, lost_seconds=3, lost_gpu_seconds=0)
    report = build.report(claim=2, attempts=attempts, disruptions=disruptions)
    for _ in range(2):
        scene.running("b").says("b", report).store()
        status = scene.observed.run.status
        assert status.attempts[0].end_reason is EndReason.STORAGE_UNAVAILABLE
        assert status.disruptions.count == 1


def test_a_crash_is_tried_again_and_says_so(scene: Any) -> None:
    status = scene.job().ended(code=137, reason="OOMKilled").decide().status
    assert (status.phase, status.reason) == (Phase.STARTING, "OOMKilled")
    assert "OOMKilled" in status.message
    assert status.disruptions.count == 0


def test_only_the_last_ten_attempts_are_kept_and_usage_counts_all(scene: Any, build: Any) -> None:
    done = tuple(
        build.attempt(number, chr(ord("a") + number), EndReason.PREEMPTED)
        for number in range(1, 12)
    )
    scene.job().status(start_time=build.start)
    scene.running("z").says("z", build.report(attempts=done[:10], progress=None))
    scene.store()
    scene.says("z", build.report(attempts=done[1:11], progress=None))
    for _ in range(2):
        usage = scene.store().status.usage
    assert len(scene.observed.run.status.attempts) == 10
    assert usage.training_seconds == 11 * 4
    assert usage.gpu_seconds == 11 * 4


def test_a_published_run_succeeds_with_the_trainers_last_words(
    scene: Any, build: Any, conditions: Any
) -> None:
    last = build.report(
        phase=TrainerPhase.ENDED,
        step=100,
        artifact=build.artifact,
        end_reason=EndReason.COMPLETED,
    )
    scene.job().running().says("a", build.report(step=90)).store()
    decision = scene.ended(report=last).job_ended(JobEnd.COMPLETE).store()
    status = decision.status
    assert (status.phase, status.reason) == (Phase.SUCCEEDED, "Published")
    assert status.artifact.uri in status.message
    assert status.columns.model == "tft_model_20260131_100000"
    assert status.columns.eta is None
    assert status.progress.percentage == 100
    assert status.attempts[-1].end_reason is EndReason.COMPLETED
    assert status.completion_time is not None
    assert conditions(decision)[ConditionType.COMPLETE] == "True"
    assert conditions(decision)[ConditionType.MODEL_PUBLISHED] == "True"
    assert decision.wake_at is None


def test_a_run_whose_end_nobody_watched_is_settled_from_job_and_last_words(
    make_scene: Any, build: Any
) -> None:
    last = build.report(
        phase=TrainerPhase.ENDED, artifact=build.artifact, end_reason=EndReason.COMPLETED
    )
    watched, slept = make_scene(), make_scene()
    for step in (10, 50, 90):
        watched.job().running().says("a", build.report(step=step)).store()
    ends = [s.job().ended(report=last).job_ended(JobEnd.COMPLETE).store() for s in (watched, slept)]
    assert ends[0].status.model_dump(exclude={"conditions"}) == ends[1].status.model_dump(
        exclude={"conditions"}
    )


def test_a_run_that_found_its_bundle_says_that_nothing_was_trained(scene: Any, build: Any) -> None:
    last = build.report(
        phase=TrainerPhase.ENDED,
        progress=None,
        artifact=build.artifact,
        already_published=True,
        end_reason=EndReason.COMPLETED,
    )
    status = scene.job().ended(report=last).job_ended(JobEnd.COMPLETE).decide().status
    assert (status.phase, status.reason) == (Phase.SUCCEEDED, "AlreadyPublished")
    assert "runToken" in status.message


@pytest.mark.parametrize(
    ("code", "job_reason", "reason"),
    [
        (ExitCode.USAGE, "PodFailurePolicy", "ConfigurationError"),
        (ExitCode.DATA, "PodFailurePolicy", "DataError"),
        (ExitCode.DIVERGED, "PodFailurePolicy", "Diverged"),
        (ExitCode.CONFIGURATION, "PodFailurePolicy", "ConfigurationError"),
        (ExitCode.STORAGE_DENIED, "BackoffLimitExceeded", "StorageAccessDenied"),
        (ExitCode.STUCK, "BackoffLimitExceeded", "Stuck"),
        (137, "BackoffLimitExceeded", "BackoffLimitExceeded"),
        (1, "BackoffLimitExceeded", "BackoffLimitExceeded"),
    ],
)
def test_a_failed_run_says_why_in_the_trainers_words(
    scene: Any, conditions: Any, code: int, job_reason: str, reason: str
) -> None:
    scene.job().ended(code=int(code), message="the way out")
    decision = scene.job_ended(JobEnd.FAILED, job_reason, failed=4).decide()
    assert (decision.status.phase, decision.status.reason) == (Phase.FAILED, reason)
    assert "the way out" in decision.status.message
    assert conditions(decision)[ConditionType.FAILED] == "True"
    assert conditions(decision)[ConditionType.STALLED] == "True"
    assert conditions(decision)[ConditionType.COMPLETE] == "False"


def test_a_run_told_to_fail_on_an_existing_bundle_names_that_reason(scene: Any, build: Any) -> None:
    last = build.report(
        phase=TrainerPhase.ENDED,
        already_published=True,
        end_reason=EndReason.CONFIGURATION,
        message="s3://bucket/models/x is there: start a new run with another runToken",
    )
    scene.job().ended(code=78, report=last).job_ended(JobEnd.FAILED, "PodFailurePolicy")
    status = scene.decide().status
    assert (status.phase, status.reason) == (Phase.FAILED, "AlreadyPublished")
    assert "runToken" in status.message


def test_a_job_that_failed_without_any_pod_tells_its_own_reason(scene: Any) -> None:
    scene.job_ended(JobEnd.FAILED, "DeadlineExceeded")
    assert scene.decide().status.reason == "DeadlineExceeded"


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED])
def test_a_run_that_has_ended_stays_as_it_is_whatever_happens_to_its_children(
    scene: Any, phase: Phase
) -> None:
    scene.status(phase=phase, reason="Told", job_name="edge-x-1")
    for change in (scene.no_job, scene.job, scene.running):
        decision = change().decide()
        assert decision.status == scene.observed.run.status
        assert not any(hasattr(action, "resolved") for action in decision.actions)


@pytest.mark.parametrize("end", [JobEnd.COMPLETE, JobEnd.FAILED])
def test_what_changes_of_an_ended_run_is_seen(scene: Any, end: JobEnd) -> None:
    """`kubectl wait --for=condition=Complete` waits for the generation of now."""
    ended = scene.job_ended(end).store().status
    seen = scene.run(generation=2).spec(ttlSecondsAfterFinished=3600).store().status
    assert seen.observed_generation == 2
    assert {condition.observed_generation for condition in seen.conditions} == {2}
    former = {"observed_generation": 1}
    conditions = tuple(c.model_copy(update=former) for c in seen.conditions)
    assert seen.model_copy(update={**former, "conditions": conditions}) == ended
    assert scene.decide().status == seen


def test_pods_of_an_earlier_resource_of_the_same_name_are_not_counted(
    scene: Any, build: Any
) -> None:
    born = build.start - timedelta(hours=1)
    scene.job().ended("a", code=75, created=born, owner_uid="predecessors-job")
    status = scene.decide().status
    assert status.attempts == ()
    assert status.disruptions.count == 0


def test_a_transition_time_moves_only_with_the_condition(scene: Any, build: Any) -> None:
    scene.job().running().says("a", build.report()).store()
    before = {c.type: c.last_transition_time for c in scene.observed.run.status.conditions}
    scene.at(900).says("a", build.report(step=20))
    after = {c.type: c.last_transition_time for c in scene.decide().status.conditions}
    assert before == after


def test_a_run_reads_as_about_a_dozen_lines(scene: Any, build: Any) -> None:
    told: list[str] = []

    def tell() -> None:
        told.extend(news.reason for news in scene.store().news)

    scene.job()
    tell()
    scene.pod()
    tell()
    for step in range(1, 60):
        scene.running().says("a", build.report(step=step))
        tell()
    scene.running(**EVICTED)
    tell()
    scene.ended(code=75, gone=True)
    tell()
    for step in range(60, 100):
        checkpoint = build.checkpoint(step, resumed=60)
        scene.running("b").says("b", build.report(claim=2, step=step, checkpoint=checkpoint))
        tell()
    scene.ended("b", report=build.report(claim=2, artifact=build.artifact))
    scene.job_ended(JobEnd.COMPLETE)
    tell()
    assert told == [
        "JobCreated",
        "TrainingStarted",
        "EvictionByEvictionAPI",
        "AttemptEnded",
        "TrainingResumed",
        "Published",
    ]


def test_a_run_that_fails_says_so_once(scene: Any, build: Any) -> None:
    scene.job().running().says("a", build.report()).store()
    scene.ended("a", code=1, message="the disk is full")
    assert [news.reason for news in scene.decide().news] == ["AttemptEnded"]
    scene.job_ended(JobEnd.FAILED, "BackoffLimitExceeded", failed=1)
    (news,) = scene.decide().news
    assert news.reason == "BackoffLimitExceeded"
    assert "the disk is full" in news.message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (2300, "38m"),
        (6 * 3600 + 60, "6h1m"),
        (30 * 3600, "30h"),
        (75 * 3600, "3d3h"),
    ],
)
def test_durations_read_like_kubectl(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_the_status_says_whether_the_model_is_exact_even_after_the_pod_is_gone(
    scene: Any, build: Any
) -> None:
    reason = "the state of step 7 was resumed elsewhere: cpu AVX512 is AVX2 now"
    scene.job().running("a").says("a", build.report(lineage=Lineage.of(None)))
    assert scene.store().status.lineage == Lineage(exact_resume=True)
    scene.says("a", build.report(lineage=Lineage.of(reason)))
    status = scene.store().status
    assert (status.lineage.exact_resume, status.lineage.exact_resume_reason) == (False, reason)
    scene.says("a", None)
    assert scene.store().status.lineage == status.lineage


def test_a_successor_is_believed_although_its_predecessors_node_was_ahead(
    scene: Any, build: Any
) -> None:
    ahead = build.attempt(1, "a").model_copy(
        update={"start": build.start + timedelta(seconds=63), "end_reason": EndReason.LOST}
    )
    scene.job().ended("a", code=137).says("a", build.report(attempts=(ahead,))).store()
    report = build.report(claim=2, attempts=(ahead, build.attempt(2, "b")), step=90)
    scene.running("b").says("b", report)
    assert scene.store().status.progress.step == 90


def test_a_trainer_that_answers_no_more_is_not_said_to_train(scene: Any, build: Any) -> None:
    scene.job().running().says("a", build.report(), failure="no route to host")

    def after(failures: int) -> Any:
        (poll,) = scene.observed.polls.values()
        scene.observed = replace(scene.observed, polls={"pod-a": replace(poll, failures=failures)})
        return scene.store().status

    assert after(UNKNOWN_AFTER - 1).reason == "Training"
    status = after(UNKNOWN_AFTER)
    assert (status.phase, status.reason) == (Phase.RUNNING, "ProgressUnknown")
    assert "no route to host" in status.message
    assert status.progress.step == 10, "what was known stays"


REFUSED = {
    "phase": "Failed",
    "pod_reason": "UnexpectedAdmissionError",
    "pod_message": "Allocate failed: no nvidia.com/gpu is free",
}


def test_a_pod_that_its_node_refused_is_told_of(scene: Any) -> None:
    status = scene.job().pod("a", **REFUSED).store().status
    assert (status.phase, status.reason) == (Phase.PENDING, "UnexpectedAdmissionError")
    assert "no nvidia.com/gpu is free" in status.message


def test_a_run_whose_last_pods_were_refused_is_not_blamed_on_an_earlier_one(scene: Any) -> None:
    scene.job().ended("a", code=71).store()
    scene.pod("b", **REFUSED).pod("c", **REFUSED)
    scene.job_ended(JobEnd.FAILED, "BackoffLimitExceeded", failed=3)
    status = scene.store().status
    assert (status.phase, status.reason) == (Phase.FAILED, "BackoffLimitExceeded")
    assert "no nvidia.com/gpu is free" in status.message


def test_the_end_of_each_attempt_is_told_once_whatever_its_number(scene: Any, build: Any) -> None:
    told: list[str] = []

    def tell() -> None:
        told.extend(news.message for news in scene.store().news if news.reason == "AttemptEnded")

    scene.job().ended("a", code=74)
    tell()
    scene.running("b").says("b", build.report(claim=1, attempts=(build.attempt(1, "b"),)))
    scene.ended("b", code=137)
    tell()
    tell()
    assert [message.partition(",")[0] for message in told] == [
        "Attempt 1 ended (StorageUnavailable",
        "Attempt 1 ended (Crashed",
    ]
