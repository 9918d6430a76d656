"""One look at a run, at an API server that fails."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from argus_contract.status import Phase
from argus_operator.carry_out import Executor
from argus_operator.children import Children
from argus_operator.errors import ApiUnreachable, OperatorError, api_error
from argus_operator.observe import Observer
from argus_operator.reconcile import Reconciler
from argus_operator.runs import Runs
from argus_operator.status import StatusWriter

WEBHOOK = api_error(500, "InternalError", 'failed calling webhook "mjob.kb.io": connection refused')


class ApiServer:
    """Fails where it is told to; the rest answers as the real one."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.job_error: Exception | None = None
        self.workload_error: Exception | None = None
        self.deleted: list[str] = []
        self.statuses: list[Any] = []

    async def get_run(self, key: Any) -> Any:
        return self.run

    async def get_job(self, key: Any, name: str) -> None:
        return None

    async def prove_job(self, job: Any) -> None:
        if self.job_error:
            raise self.job_error

    async def create_job(self, job: Any) -> Any:
        await self.prove_job(job)
        raise AssertionError("nothing here makes a Job")

    async def delete_job(self, job: Any) -> None:
        self.deleted.append(job.name)

    async def get_workload_of(self, job: Any) -> Any:
        assert self.workload_error
        raise self.workload_error

    async def replace_status(self, run: Any, status: Any) -> str:
        self.statuses.append(status)
        return str(int(run.resource_version) + 1)


class Nobody:
    """No trainer answers, no event is found, and nobody listens."""

    async def poll(self, *_: Any) -> None:
        pass

    def polls_of(self, _: Any) -> dict[str, Any]:
        return {}

    def forget(self, _: Any) -> None:
        pass

    async def of(self, *_: Any) -> tuple[()]:
        return ()

    async def tell(self, *_: Any) -> None:
        pass


class Looks:
    """Looks at one run, as the worker does."""

    def __init__(self, scene: Any) -> None:
        run, anybody = scene.observed.run, cast(Any, Nobody())
        self.server = ApiServer(run)
        server = cast(Any, self.server)
        self.key, self.start, self.now, self.failures = run.key, run.created, run.created, 0
        self.children = children = Children()
        runs = Runs()
        for job in scene.observed.jobs:
            children.put(job)
        runs.put(run)
        given = {"children": children, "configuration": scene.configuration}
        self.reconciler = Reconciler(
            runs=runs,
            observer=Observer(
                cluster=server,
                runs=runs,
                reader=anybody,
                hindrances=anybody,
                clock=self.clock,
                **given,
            ),
            executor=Executor(cluster=server, clock=self.clock, **given),
            status=StatusWriter(server, lambda: 0.0),
            events=anybody,
            configuration=scene.configuration,
            clock=self.clock,
        )

    def clock(self) -> Any:
        return self.now

    def look(self, seconds: float) -> str | None:
        """Returns what the look failed with."""
        self.now = self.start + timedelta(seconds=seconds)
        try:
            asyncio.run(self.reconciler.reconcile(self.key, self.failures))
        except OperatorError as error:
            self.failures += 1
            return str(error)
        self.failures = 0
        return None


@pytest.mark.parametrize("error", [WEBHOOK, ApiUnreachable("POST jobs: no answer within 15 s")])
def test_a_job_that_cannot_be_made_is_tried_again_and_then_told_of(
    scene: Any, error: Exception
) -> None:
    looks = Looks(scene.spec(preRunningDeadlineSeconds=60))
    looks.server.job_error = error
    assert looks.look(1) == str(error)
    assert looks.look(2) == str(error)
    assert looks.server.statuses == [], "it may pass"
    assert looks.look(4) is None
    (status,) = looks.server.statuses
    assert (status["phase"], status["reason"]) == (Phase.PENDING, "JobNotMade")
    assert getattr(error, "message", str(error)) in status["pending"]["message"]
    for seconds in (65, 66, 68):
        looks.look(seconds)
    assert looks.server.statuses[-1]["phase"] == Phase.FAILED
    assert looks.server.statuses[-1]["reason"] == "PreRunningDeadlineExceeded"


def test_a_run_is_suspended_although_its_next_job_cannot_be_proved(scene: Any) -> None:
    scene.job().running().store()
    scene.spec(suspend=True).run(generation=2).store()
    looks = Looks(scene.no_job().run(generation=3))
    looks.server.job_error = WEBHOOK
    for seconds in (300, 301, 303):
        looks.look(seconds)
    assert looks.server.statuses[-1]["phase"] == Phase.SUSPENDED


@pytest.mark.parametrize("error", [WEBHOOK, ApiUnreachable("GET workloads: no answer within 15 s")])
def test_a_kueue_that_is_down_keeps_no_run_from_being_suspended(
    scene: Any, error: Exception
) -> None:
    scene.configuration = scene.configuration.model_copy(update={"kueue_enabled": True})
    scene.queue("q").at(1).job(suspended=True).store()
    looks = Looks(scene.spec(suspend=True).run(generation=2))
    looks.server.workload_error = error
    assert looks.look(10) is None
    assert looks.server.deleted == [scene.observed.jobs[0].name]


def test_a_job_that_lost_its_labels_is_still_the_job_of_its_run(scene: Any) -> None:
    scene.job().running().store()
    (job,) = scene.observed.jobs
    looks = Looks(scene)
    looks.children.drop(job)  # what a watch with a selector says of it

    async def get_job(*_: Any) -> Any:
        return job

    looks.server.get_job = get_job  # type: ignore[method-assign]
    looks.server.job_error = AssertionError("a second Job")
    for seconds in (200, 400):
        assert looks.look(seconds) is None
