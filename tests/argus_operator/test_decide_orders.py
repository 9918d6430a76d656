"""Whatever the order in which the operator gets to see things, the end is the same."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from argus_contract.progress import TrainerPhase
from argus_contract.status import ArgusTrainingJobStatus, EndReason, Phase
from argus_operator.decision import CreateJob
from argus_operator.views import Hindrance, JobEnd

EVICTED = Hindrance(reason="EvictionByEvictionAPI", message="evicting")


def history(make_scene: Any, build: Any) -> list[Any]:
    """The pictures of one run, in the order in which they were true.

    Attempt 1 is evicted, attempt 2 is killed, attempt 3 publishes.
    """

    def a_ended(scene: Any) -> Any:
        return scene.job().ended("a", code=75, disruption=EVICTED)

    def b_ended(scene: Any) -> Any:
        return a_ended(scene).ended("b", code=137)

    checkpoint = build.checkpoint(60, resumed=40)
    last = build.report(
        claim=3,
        phase=TrainerPhase.ENDED,
        step=100,
        checkpoint=checkpoint,
        artifact=build.artifact,
        end_reason=EndReason.COMPLETED,
    )
    return [
        make_scene(),
        make_scene().job(),
        make_scene().job().pod("a", node=None),
        make_scene().job().pod("a"),
        make_scene().job().running("a"),
        make_scene().job().running("a").says("a", build.report(step=10)),
        make_scene().job().running("a").says("a", build.report(step=40)),
        make_scene().job().running("a", deleting=True, disruption=EVICTED),
        a_ended(make_scene()),
        a_ended(make_scene()).pod("b"),
        a_ended(make_scene()).running("b").says("b", build.report(claim=2, step=45)),
        b_ended(make_scene()),
        b_ended(make_scene()).running("c").says("c", build.report(claim=3, step=60)),
        b_ended(make_scene()).ended("c", report=last).job_ended(JobEnd.COMPLETE),
    ]


def play(scenes: list[Any], order: list[int]) -> tuple[ArgusTrainingJobStatus, int]:
    """Shows the pictures in this order to operators that share one status.

    Returns the last status and how many Jobs were asked for while there was one.
    """
    status, needless = ArgusTrainingJobStatus(), 0
    for place in order:
        scene = scenes[place]
        scene.run(status=status)
        decision = scene.decide()
        made = any(isinstance(action, CreateJob) for action in decision.actions)
        needless += bool(made and scene.observed.jobs)
        status = decision.status
    return status, needless


def facts(status: ArgusTrainingJobStatus) -> dict[str, Any]:
    """What must not depend on the way; times of transitions may."""
    return status.model_dump(
        include={
            "phase",
            "reason",
            "message",
            "attempts",
            "disruptions",
            "checkpoint",
            "artifact",
            "progress",
            "start_time",
            "completion_time",
            "columns",
            "usage",
            "job_name",
            "run_key",
        }
    )


def test_reordered_and_repeated_pictures_come_to_the_same_end(make_scene: Any, build: Any) -> None:
    scenes = history(make_scene, build)
    final = len(scenes) - 1
    straight, _ = play(scenes, list(range(len(scenes))))
    assert straight.phase is Phase.SUCCEEDED
    assert straight.disruptions is not None
    assert straight.disruptions.count == 2
    assert [a.exit_code for a in straight.attempts] == [75, 137, 0]

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.integers(min_value=0, max_value=final - 1), max_size=20))
    def comes_to_the_same_end(order: list[int]) -> None:
        ended, needless = play(scenes, [*order, final, *order])
        assert facts(ended) == facts(straight)
        assert needless == 0

    comes_to_the_same_end()
