"""Which news of children is looked at, and how soon."""

import asyncio
import random
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from argus_contract import names
from argus_contract.status import Phase
from argus_operator import handlers
from argus_operator.children import Children
from argus_operator.connection import WatchEvent
from argus_operator.queue import WorkQueue
from argus_operator.reading import read_job
from argus_operator.reflector import Reflector
from argus_operator.runs import Runs
from argus_operator.urgency import (
    AT_ONCE,
    END_SECONDS,
    GATHER_SECONDS,
    START_SECONDS,
    urgency,
    urgency_of_end,
)
from argus_operator.views import Hindrance, JobEnd, Key

KEY = Key("team", "edge")


def test_a_picture_that_tells_nothing_new_is_not_looked_at(scene: Any) -> None:
    (pod,) = scene.running().observed.pods
    (job,) = scene.job().observed.jobs
    assert urgency(pod, replace(pod, resource_version=9)) is None
    assert urgency(job, replace(job, resource_version=9)) is None
    assert urgency(None, pod) == START_SECONDS
    assert urgency(pod, replace(pod, resource_version=9, deleting=True)) == GATHER_SECONDS


@pytest.mark.parametrize(
    "trouble",
    [
        {"deleting": True},
        {"disruption": Hindrance(reason="Evicted", message="")},
        {"unschedulable": Hindrance(reason="Unschedulable", message="0/1 nodes")},
        {"waiting": Hindrance(reason="ImagePullBackOff", message="")},
        {"phase": "Failed"},
    ],
)
def test_trouble_of_a_pod_is_told_earlier_than_its_start(scene: Any, trouble: Any) -> None:
    (pod,) = scene.pod().observed.pods
    creating = Hindrance(reason="ContainerCreating", message="")
    assert urgency(pod, replace(pod, waiting=creating)) == START_SECONDS
    assert urgency(pod, replace(pod, **trouble)) == GATHER_SECONDS < START_SECONDS


def test_the_end_of_a_job_does_not_wait_and_that_of_its_pod_waits_for_it(scene: Any) -> None:
    (running,) = scene.running().observed.pods
    (succeeded,) = scene.ended(code=0).observed.pods
    (failed,) = scene.ended(code=75).observed.pods
    (job,) = scene.job().observed.jobs
    (ended,) = scene.job_ended(JobEnd.COMPLETE).observed.jobs
    assert urgency(running, succeeded) == END_SECONDS
    assert urgency(running, failed) == GATHER_SECONDS
    assert urgency(job, ended) == AT_ONCE
    assert urgency_of_end(job) == AT_ONCE
    assert urgency_of_end(running) == GATHER_SECONDS


class Watch:
    """The watches, without an API server: tells an event, and which run is due now."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs, self.children = Runs(), Children()
        self.queue = WorkQueue(
            lambda: self.now,
            random.Random(1),
            lambda key: self.runs.is_settled(key, self.children.jobs(key)),
        )
        self.queue.open()
        registry = handlers.register(self.queue, self.runs, None)
        (self.run_changed,) = (h.fn for h in registry._watching.get_all_handlers())
        nobody: Any = Mock()
        self.reflector = Reflector(
            cluster=nobody,
            children=self.children,
            queue=self.queue,
            namespaces=(),
            clock=lambda: self.now,
            jitter=random.Random(1),
        )

    def tell_run(self, kind: str, raw: dict[str, Any]) -> None:
        asyncio.run(self.run_changed(event={"type": kind, "object": raw}))

    def tell_job(self, kind: str, raw: dict[str, Any]) -> None:
        version = int(raw["metadata"]["resourceVersion"])
        self.reflector.hear(WatchEvent(kind, raw, version), read_job)

    def is_due(self) -> bool:
        key = self.queue._take()
        if key:
            self.queue.done(key)
        return key == KEY


def raw_run(version: int, phase: Phase | None = None, generation: int = 1) -> dict[str, Any]:
    metadata = {"namespace": "team", "name": "edge", "uid": "run-uid"}
    return {
        "metadata": {**metadata, "resourceVersion": str(version), "generation": generation},
        "spec": {"data": {"uri": "s3://metrics/edge"}},
        "status": {"phase": phase} if phase else {},
    }


def raw_job(version: int, **status: Any) -> dict[str, Any]:
    owner = {"uid": "run-uid", "controller": True}
    labels = {names.LABEL_RUN_NAME: "edge", names.LABEL_COMPONENT: names.COMPONENT_TRAINER}
    metadata = {"namespace": "team", "name": "edge-1", "uid": "job-uid", "labels": labels}
    return {
        "metadata": {**metadata, "resourceVersion": str(version), "ownerReferences": [owner]},
        "status": status,
    }


COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}


def test_a_new_run_and_a_new_wish_are_looked_at_at_once_and_our_own_status_never() -> None:
    watch = Watch()
    watch.tell_run("ADDED", raw_run(1))
    assert watch.is_due()
    watch.tell_run("MODIFIED", raw_run(2, Phase.PENDING))
    assert not watch.is_due()
    watch.tell_run("MODIFIED", raw_run(3, Phase.PENDING, generation=2))
    assert watch.is_due()
    watch.tell_run("DELETED", raw_run(4, Phase.PENDING, generation=2))
    assert watch.is_due()
    assert watch.runs.get(KEY) is None


def test_news_of_a_job_is_gathered_its_end_is_not_and_that_of_an_ended_run_is_none() -> None:
    watch = Watch()
    watch.tell_run("ADDED", raw_run(1))
    assert watch.is_due()
    watch.tell_job("ADDED", raw_job(2))
    assert not watch.is_due()
    watch.now = GATHER_SECONDS
    assert watch.is_due()
    watch.tell_job("MODIFIED", raw_job(3, active=1))
    watch.now = 60
    assert not watch.is_due(), "that a pod is active is told by the pod"
    watch.tell_job("MODIFIED", raw_job(4, **COMPLETE))
    assert watch.is_due()
    watch.tell_run("MODIFIED", raw_run(5, Phase.SUCCEEDED))
    watch.tell_job("MODIFIED", raw_job(6, succeeded=1, **COMPLETE))
    watch.tell_job("DELETED", raw_job(7, **COMPLETE))
    watch.now = 120
    assert not watch.is_due()
