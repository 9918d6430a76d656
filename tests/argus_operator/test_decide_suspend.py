"""A run that is told to stand still, and to go on."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from argus_contract.status import ConditionType, EndReason, Phase
from argus_operator.carry_out import Executor
from argus_operator.children import Children
from argus_operator.configuration import Defaults
from argus_operator.decision import CreateJob, DeleteJob, ProveJob
from argus_operator.errors import ApiError, Invalid, api_error
from argus_operator.status import differs
from argus_operator.views import JobEnd


def stopped(scene: Any) -> Any:
    """A run that trained, was suspended, and whose Job and pod are gone."""
    scene.job().running().store()
    scene.spec(suspend=True).run(generation=2).store()
    return scene.no_job().ended(code=75, gone=True)


def test_a_running_run_that_is_suspended_loses_its_job_and_keeps_its_phase_until_it_left(
    scene: Any,
) -> None:
    scene.job().running().at(200).store()
    decision = scene.spec(suspend=True).decide()
    assert decision.actions == (DeleteJob(job=scene.observed.jobs[0]),)
    assert (decision.status.phase, decision.status.reason) == (Phase.RUNNING, "Suspending")
    scene.no_job().running(deleting=True)
    decision = scene.decide()
    assert decision.actions == ()
    assert decision.status.reason == "Suspending"
    assert "Pod a" in decision.status.message


def test_a_job_that_is_already_on_its_way_out_is_not_deleted_twice(scene: Any) -> None:
    scene.spec(suspend=True).job(deleting=True)
    assert scene.decide().actions == ()


def test_a_run_stands_still_once_its_pods_are_gone(scene: Any, build: Any, conditions: Any) -> None:
    scene.job().running().says("a", build.report(step=40, checkpoint=build.checkpoint(40)))
    decision = stopped(scene).store()
    assert (decision.status.phase, decision.status.reason) == (Phase.SUSPENDED, "Suspended")
    assert "step 40" in decision.status.message
    assert "spec.suspend" in decision.status.message
    assert conditions(decision)[ConditionType.SUSPENDED] == "True"
    assert conditions(decision)[ConditionType.ACCEPTED] == "True"
    assert ConditionType.RECONCILING not in conditions(decision), "kstatus: Current"
    assert ConditionType.STALLED not in conditions(decision)
    assert decision.wake_at is None
    assert decision.status.pending is None
    assert decision.status.attempts[-1].end_reason is EndReason.PREEMPTED
    assert [news.reason for news in decision.news] == ["AttemptEnded", "Suspended"]


def test_a_run_that_goes_on_gets_the_next_job_and_says_so(scene: Any, conditions: Any) -> None:
    stopped(scene).store()
    scene.spec(suspend=False)
    (create,) = scene.decide().actions
    assert isinstance(create, CreateJob)
    assert create.name.endswith("-2")
    decision = scene.job(generation=2).store()
    assert conditions(decision)[ConditionType.SUSPENDED] == "False"
    assert [news.reason for news in decision.news] == ["Resumed"]
    assert decision.status.phase is Phase.PENDING, "nobody preempted it"
    assert scene.pod("t", owner_uid="job-2").store().status.phase is Phase.STARTING
    scene.at(300).ended("t", code=75, owner_uid="job-2")
    assert scene.store().status.phase is Phase.PREEMPTED, "and now somebody has"


def test_the_next_job_waits_until_the_suspended_pod_has_left(scene: Any) -> None:
    scene.job().running().store()
    scene.spec(suspend=True).store()
    scene.spec(suspend=False).no_job().running(deleting=True)
    assert scene.decide().actions == ()


def test_the_next_job_is_made_from_the_spec_as_it_then_is(scene: Any) -> None:
    image = stopped(scene).store().status.resolved.image
    changed = {
        "resourcesPerNode": {"limits": {"memory": "9Gi"}},
        "scheduling": {"priorityClassName": "high"},
    }
    scene.spec(suspend=True, **changed)
    assert scene.store().status.resolved.scheduling.priority_class_name == "high"
    scene.spec(suspend=False, **changed)
    (create,) = scene.decide().actions
    assert create.resolved.resources_per_node.limits == {"memory": "9Gi"}
    assert create.resolved.scheduling.priority_class_name == "high"
    assert create.resolved.image == image


def test_what_may_change_only_while_suspended_does_not_change_a_job_that_runs(scene: Any) -> None:
    scene.job().running().store()
    scene.spec(scheduling={"priorityClassName": "high"})
    assert scene.decide().status.resolved.scheduling.priority_class_name is None


def test_a_run_that_is_born_suspended_makes_no_job_and_is_proven_once(
    scene: Any, conditions: Any
) -> None:
    decision = scene.spec(suspend=True).store()
    (prove,) = decision.actions
    assert isinstance(prove, ProveJob)
    assert decision.status.phase is Phase.SUSPENDED
    assert conditions(decision)[ConditionType.ACCEPTED] == "True"
    assert scene.decide().actions == ()
    (again,) = scene.run(generation=2).decide().actions
    assert isinstance(again, ProveJob), "the spec has changed"
    (create,) = scene.spec(suspend=False).decide().actions
    assert (create.name, create.resolved) == (prove.job.name, prove.job.resolved)


class ApiServer:
    """Answers a dry run as the real one: with no more than yes or no."""

    def __init__(self, error: ApiError | None) -> None:
        self.error = error
        self.asked: list[Any] = []
        """Resources of each Job."""

    async def prove_job(self, job: Any) -> None:
        self.asked.append(job["spec"]["template"]["spec"]["containers"][0]["resources"])
        if self.error:
            raise self.error

    async def create_job(self, job: Any) -> None:
        await self.prove_job(job)
        raise AssertionError("nothing here makes a Job")


def prove(scene: Any, error: ApiError | None) -> Any:
    """Carries out what was decided; returns the resources of the Job that was asked about."""
    server: Any = ApiServer(error)
    executor = Executor(
        cluster=server,
        children=Children(),
        configuration=scene.configuration,
        clock=lambda: scene.now,
    )
    scene.observed = replace(scene.observed, refusal=None)
    scene.observed = asyncio.run(executor.carry_out(scene.decide().actions, scene.observed))
    (asked,) = server.asked
    return asked


def test_a_suspended_run_whose_job_is_wrong_is_not_accepted_and_can_be_corrected(
    scene: Any, conditions: Any
) -> None:
    refusal = api_error(422, "Invalid", "affinity: unknown")
    assert isinstance(refusal, Invalid)
    prove(scene.spec(suspend=True), refusal)
    decision = scene.store()
    assert conditions(decision)[ConditionType.ACCEPTED] == "False"
    assert conditions(decision)[ConditionType.SUSPENDED] == "True", "so that it may be changed"
    assert "affinity: unknown" in decision.status.message
    assert decision.wake_at is not None
    object.__setattr__(scene.observed, "refusal", None)
    assert len(scene.decide().actions) == 1, "it is asked again"


@pytest.mark.parametrize(
    "error", [api_error(403, "Forbidden", "quota"), api_error(409, "AlreadyExists", "there"), None]
)
def test_what_may_be_otherwise_later_does_not_speak_against_a_suspended_run(
    scene: Any, conditions: Any, error: ApiError | None
) -> None:
    prove(scene.spec(suspend=True), error)
    decision = scene.decide()
    assert conditions(decision)[ConditionType.ACCEPTED] == "True"
    assert decision.wake_at is None


@pytest.mark.parametrize("end", list(JobEnd))
def test_a_run_that_ended_before_it_could_be_suspended_has_ended(scene: Any, end: JobEnd) -> None:
    scene.job().ended().job_ended(end)
    decision = scene.spec(suspend=True).store()
    assert decision.status.phase in (Phase.SUCCEEDED, Phase.FAILED)
    assert decision.actions == ()
    for suspended in (True, False):
        decision = scene.spec(suspend=suspended).no_job().decide()
        assert decision.actions == ()
        assert decision.status == scene.observed.run.status


def test_a_run_that_cannot_be_accepted_says_so_rather_than_that_it_is_suspended(
    scene: Any,
) -> None:
    scene.queue("q").spec(suspend=True)
    for _ in range(2):
        status = scene.store().status
        assert (status.phase, status.reason) == (Phase.SUSPENDED, "KueueNotEnabled")
    scene.spec()
    for _ in range(2):
        status = scene.store().status
        assert (status.phase, status.reason) == (Phase.PENDING, "KueueNotEnabled")


def test_a_queue_that_is_asked_for_while_the_run_stands_still_needs_kueue(scene: Any) -> None:
    stopped(scene).store()
    scene.queue("team").spec().run(generation=3)
    for _ in range(2):
        decision = scene.store()
        assert decision.actions == ()
        assert (decision.status.phase, decision.status.reason) == (Phase.PENDING, "KueueNotEnabled")
    (create,) = scene.run(labels={}).decide().actions
    assert create.resolved.queue is None


def test_a_run_that_stands_still_is_written_once(scene: Any) -> None:
    empty = {"nodeSelector": {}, "tolerations": []}
    known = scene.configuration.defaults.to_wire() | empty
    defaults = Defaults.model_validate(known)
    scene.configuration = scene.configuration.model_copy(update={"defaults": defaults})
    scene.spec(suspend=True, scheduling=empty).store()
    before = scene.observed.run.status
    assert not differs(before, scene.at(1000).decide().status)


def test_what_was_refused_when_the_run_went_on_is_asked_for_and_nothing_else(
    scene: Any, conditions: Any
) -> None:
    wrong = {"resourcesPerNode": {"limits": {"cpu": "8"}, "requests": {"cpu": "64"}}}
    right = {"resourcesPerNode": {"limits": {"cpu": "8"}, "requests": {"cpu": "8"}}}
    refusal = api_error(422, "Invalid", "requests.cpu: must be less than or equal to cpu limit")
    stopped(scene).store()
    scene.spec(**wrong).run(generation=3)
    for _ in range(2):
        assert prove(scene, refusal) == wrong["resourcesPerNode"]
        decision = scene.store()
        assert (decision.status.phase, decision.status.reason) == (Phase.PENDING, "JobInvalid")
    pending = scene.observed
    scene.spec(**right, suspend=True).run(generation=4)
    assert prove(scene, None) == right["resourcesPerNode"], "suspended and corrected in one step"
    scene.observed = pending
    scene.spec(**wrong, suspend=True).run(generation=4)
    assert prove(scene, refusal) == wrong["resourcesPerNode"]
    decision = scene.store()
    assert conditions(decision)[ConditionType.ACCEPTED] == "False"
    scene.spec(**right, suspend=True).run(generation=5)
    assert prove(scene, None) == right["resourcesPerNode"]
    decision = scene.store()
    assert conditions(decision)[ConditionType.ACCEPTED] == "True"


def test_a_queue_that_was_corrected_counts_from_the_next_job_on(scene: Any) -> None:
    scene.configuration = scene.configuration.model_copy(update={"kueue_enabled": True})
    scene.queue("team-typo")
    stopped(scene).store()
    scene.queue("team-a").store()
    scene.spec(suspend=False)
    (create,) = scene.decide().actions
    assert create.resolved.queue == "team-a"
