"""What a run has cost."""

from typing import Any

import pytest

from argus_contract.status import Disruptions, EndReason, Phase, Usage
from argus_operator.views import JobEnd


def closed(build: Any, *pods: str) -> Any:
    """Attempts of 4 seconds each."""
    return tuple(
        build.attempt(number, pod, EndReason.PREEMPTED) for number, pod in enumerate(pods, start=1)
    )


def test_gpus_that_changed_while_suspended_cost_only_from_then_on(scene: Any, build: Any) -> None:
    scene.job().running("a").says("a", build.report(attempts=closed(build, "a"), progress=None))
    assert scene.store().status.usage.gpu_seconds == 4
    scene.spec(suspend=True).no_job().ended("a", code=75, gone=True).store()
    fewer = {"resourcesPerNode": {"limits": {"cpu": "1"}}}
    scene.spec(suspend=True, **fewer).store()
    scene.spec(**fewer).job(generation=2).running("t", owner_uid="job-2")
    scene.says("t", build.report(attempts=closed(build, "a", "t"), progress=None))
    for _ in range(3):
        usage = scene.store().status.usage
    assert (usage.training_seconds, usage.gpu_seconds) == (8, 1 * 4 + 0 * 4)


def test_what_was_repeated_is_what_the_ledger_says(scene: Any, build: Any) -> None:
    disruptions = Disruptions(count=1, lost_seconds=3, lost_gpu_seconds=6)
    scene.job().running().says("a", build.report(disruptions=disruptions))
    assert scene.decide().status.usage.lost_gpu_seconds == 6


def test_a_run_waits_from_its_creation_to_its_first_start(scene: Any) -> None:
    scene.job().running("b")
    assert scene.store().status.usage.queued_seconds == 13
    scene.ended("b", code=75).running("t")
    assert scene.store().status.usage.queued_seconds == 13


def test_the_time_in_which_a_run_was_suspended_is_no_waiting(scene: Any) -> None:
    scene.spec(suspend=True).at(10).store()
    scene.spec().at(100).job().store()
    scene.at(300).running("t", started=scene.observed.now)
    for _ in range(2):
        assert scene.store().status.usage.queued_seconds == 200
    scene.spec(suspend=True).no_job().ended("t", code=75, gone=True).at(400).store()
    assert scene.spec().at(500).store().status.usage.queued_seconds == 200


@pytest.mark.parametrize("suspended", [True, False])
def test_a_run_that_still_waits_has_no_bill(scene: Any, suspended: bool) -> None:
    assert scene.spec(suspend=suspended).job().decide().status.usage is None


def test_a_run_that_never_started_has_cost_its_waiting(scene: Any) -> None:
    ended = scene.job_ended(JobEnd.FAILED, "DeadlineExceeded").decide()
    assert ended.status.phase is Phase.FAILED
    assert ended.status.usage == Usage(
        gpu_seconds=0, queued_seconds=100, training_seconds=0, lost_gpu_seconds=0
    )


def test_a_bill_is_right_although_nobody_looked(make_scene: Any, build: Any) -> None:
    report = build.report(claim=3, attempts=closed(build, "a", "b", "c"))
    watched, slept = make_scene(), make_scene()
    for pod in "ab":
        watched.job().ended(pod, code=75).store()
    bills = []
    for scene in (watched, slept):
        for pod in "ab":
            scene.job().ended(pod, code=75)
        scene.ended("c", report=report).job_ended(JobEnd.COMPLETE)
        bills.append(scene.store().status.usage)
    assert bills[0] == bills[1]
    assert bills[0].training_seconds == 12


def test_attempts_that_last_words_left_out_are_counted_once(scene: Any, build: Any) -> None:
    """Last words are cut to 4 KiB, from the oldest attempt on; the next report has them all."""
    scene.job()
    for number, pod in enumerate("abcd", start=1):
        whole = tuple(
            attempt.model_copy(update={"end_reason": EndReason.LOST})
            if attempt.pod == "a"
            else attempt
            for attempt in closed(build, *"abcd"[:number])
        )
        if number == 1:
            scene.ended("a", code=137, reason="OOMKilled").store()
            continue
        report = build.report(claim=number, attempts=whole, progress=None)
        scene.running(pod).says(pod, report).store()
        cut = report.model_copy(update={"attempts": whole[1:]})
        status = scene.ended(pod, code=75, report=cut).store().status
        assert [attempt.number for attempt in status.attempts] == list(range(1, number + 1))
        assert status.usage.training_seconds == 4 * number
        assert status.attempts[0].end_reason is EndReason.OOM_KILLED, "the operator knows better"
        # A report counts those that had ended before it began.
        assert status.disruptions.count == number - 1 - 1, "that was no disruption"


def test_an_attempt_that_never_got_a_claim_is_paid_for(scene: Any, build: Any) -> None:
    scene.job().ended("a", code=74)
    assert scene.store().status.usage.training_seconds == 7
    claimed = (build.attempt(1, "b", EndReason.PREEMPTED),)
    scene.running("b").says("b", build.report(claim=1, attempts=claimed, progress=None))
    for _ in range(2):
        usage = scene.store().status.usage
    assert usage.training_seconds == 7 + 4
