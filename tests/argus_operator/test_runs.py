"""The documents of runs, told late, twice, in any order, or never."""

from dataclasses import replace
from typing import Any

import pytest

from argus_contract.spec import ArgusTrainingJobSpec
from argus_contract.status import Phase
from argus_operator.reading import read_status
from argus_operator.runs import Change, Runs
from argus_operator.views import Key, RunView


@pytest.fixture
def make_run(scene: Any) -> Any:
    def make(version: int, phase: Phase | None = None, **changes: Any) -> RunView:
        status = scene.observed.run.status.model_copy(update={"phase": phase})
        run: RunView = scene.observed.run
        return replace(run, resource_version=str(version), status=status, **changes)

    return make


KEY = Key("team", "edge")


def test_the_newest_document_counts_however_it_came(make_run: Any) -> None:
    runs = Runs()
    assert runs.put(make_run(5)) is Change.WISH
    assert runs.put(make_run(5)) is Change.NOTHING
    assert runs.put(make_run(4, generation=9)) is Change.NOTHING
    assert runs.get(KEY) == make_run(5)


def test_only_what_somebody_wants_is_worth_a_look(make_run: Any) -> None:
    runs = Runs()
    runs.put(make_run(5))
    assert runs.put(make_run(6, Phase.RUNNING)) is Change.STATUS
    assert runs.put(make_run(7, Phase.RUNNING, generation=2)) is Change.WISH
    assert runs.put(make_run(8, Phase.RUNNING, generation=2, deleting=True)) is Change.WISH
    assert runs.put(make_run(9, uid="another")) is Change.WISH


def test_a_status_that_somebody_else_took_back_is_looked_at(make_run: Any) -> None:
    runs = Runs()
    runs.put(make_run(5, Phase.SUCCEEDED))
    assert runs.put(make_run(6, Phase.RUNNING)) is Change.WISH


def test_a_deleted_run_does_not_come_back_and_its_successor_is_another(make_run: Any) -> None:
    runs = Runs()
    runs.put(make_run(5))
    runs.drop(KEY, 7)
    assert runs.put(make_run(6)) is Change.NOTHING
    assert runs.get(KEY) is None
    assert runs.put(make_run(8, uid="successor")) is Change.WISH
    runs.drop(KEY, 7)
    assert runs.get(KEY) == make_run(8, uid="successor"), "it was the predecessor that went"


def test_a_run_that_the_api_server_does_not_have_does_not_come_back(make_run: Any) -> None:
    runs = Runs()
    runs.put(make_run(5))
    runs.drop(KEY)
    assert runs.put(make_run(5)) is Change.NOTHING
    assert runs.num_live == 0


def test_a_picture_that_failed_is_not_used_again_until_it_is_read(make_run: Any) -> None:
    runs = Runs()
    runs.put(make_run(5))
    runs.forget(KEY)
    assert runs.get(KEY) is None
    assert runs.put(make_run(4)) is Change.NOTHING
    assert runs.get(KEY) is None
    runs.put(make_run(5))
    assert runs.get(KEY) == make_run(5)
    runs.forget_all()
    assert runs.get(KEY) is None


def test_of_a_run_that_has_ended_no_document_is_kept(make_run: Any, scene: Any) -> None:
    (job,) = scene.job().observed.jobs
    runs = Runs()
    runs.put(make_run(5, Phase.RUNNING))
    assert runs.num_live == 1
    assert not runs.is_settled(KEY, ())
    runs.put(make_run(6, Phase.FAILED))
    assert (runs.get(KEY), runs.num_live) == (None, 0)
    assert runs.is_settled(KEY, ())
    assert not runs.is_settled(KEY, (job,)), "it still runs"
    assert runs.is_settled(KEY, (replace(job, owner_uid="predecessor"),))


def test_a_run_that_was_changed_after_its_end_is_settled_once_that_is_told(make_run: Any) -> None:
    runs = Runs()
    ended = make_run(6, Phase.SUCCEEDED)
    runs.put(replace(ended, status=ended.status.model_copy(update={"observed_generation": 1})))
    assert runs.is_settled(KEY, ())
    ended = replace(make_run(7, Phase.SUCCEEDED), generation=2)
    told = [ended.status.model_copy(update={"observed_generation": seen}) for seen in (1, 2)]
    assert runs.put(replace(ended, status=told[0])) is Change.WISH
    assert not runs.is_settled(KEY, ())
    runs.put(replace(ended, resource_version="8", status=told[1]))
    assert runs.is_settled(KEY, ())


def test_a_run_with_a_time_to_live_is_settled_once_its_children_are_gone(
    make_run: Any, scene: Any
) -> None:
    scene.job_ended("Complete")
    (job,) = scene.observed.jobs
    spec = ArgusTrainingJobSpec.model_validate(
        {"data": {"uri": "s3://metrics/edge"}, "ttlSecondsAfterFinished": 5}
    )
    runs = Runs()
    runs.put(make_run(6, Phase.SUCCEEDED))
    assert runs.is_settled(KEY, (job,))
    runs.put(make_run(7, Phase.SUCCEEDED, spec=spec))
    assert not runs.is_settled(KEY, (job,))
    assert runs.is_settled(KEY, (replace(job, deleting=True),))


def test_a_run_that_ended_in_a_phase_of_a_later_version_is_not_begun_again(scene: Any) -> None:
    raw = {"phase": "Skipped", "completionTime": "2026-01-31T10:00:00Z"}
    scene.run(status=read_status(raw))
    assert scene.observed.run.status.phase is None
    assert scene.decide().actions == ()
    runs = Runs()
    runs.put(scene.observed.run)
    assert runs.is_settled(KEY, ())
