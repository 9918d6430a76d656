"""The edges: what the API server and trainers send, and what is sent to them."""

import asyncio
import gzip
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import kopf
import pytest
from aiohttp import web

from argus_contract import names
from argus_contract.run_key import run_key
from argus_contract.spec import ArgusTrainingJobSpec
from argus_contract.status import ArgusTrainingJobStatus, Phase
from argus_operator import handlers, process, reading
from argus_operator.carry_out import Executor
from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.decision import News
from argus_operator.errors import (
    AlreadyExists,
    Conflict,
    Invalid,
    NotFound,
    Refused,
    WatchFailed,
    api_error,
)
from argus_operator.events import EventWriter
from argus_operator.observed import Poll
from argus_operator.progress import ProgressReader
from argus_operator.queue import WorkQueue
from argus_operator.reading import read_job, read_pod, read_run, read_status
from argus_operator.reconcile import Reconciler
from argus_operator.runs import Runs
from argus_operator.stateless import NoMemories
from argus_operator.status import StatusWriter, differs
from argus_operator.views import JobEnd, JobView, Key, Listed, PodView

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
SPEC = ArgusTrainingJobSpec.model_validate({"data": {"uri": "s3://metrics/edge"}})
RUN_KEY = run_key("test", "team", "edge", SPEC)
LABELS = {
    names.LABEL_RUN_NAME: "edge",
    names.LABEL_RUN_KEY: RUN_KEY,
    names.LABEL_COMPONENT: "trainer",
}


def raw_pod(version: int = 7, uid: str = "p", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "edge-1",
            "namespace": "team",
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-31T10:00:00Z",
            "labels": LABELS,
            "ownerReferences": [
                {"kind": "Job", "name": "edge-0123abcd-1", "uid": "job-uid", "controller": True}
            ],
        },
        "spec": {"nodeName": "node-1"},
        "status": status,
    }


def listed_pods(version: int, *pods: PodView) -> Listed:
    return Listed(kind=PodView, children=pods, version=version)


def test_a_pods_end_is_read_with_its_last_words(build: Any) -> None:
    text = build.report().to_termination_message()
    terminated = {
        "exitCode": 75,
        "reason": "Error",
        "startedAt": "2026-01-31T10:00:05Z",
        "finishedAt": "2026-01-31T10:01:00Z",
        "message": text,
    }
    statuses = [{"name": "trainer", "imageID": "x@sha256:abc", "state": {"terminated": terminated}}]
    pod = read_pod(raw_pod(phase="Failed", containerStatuses=statuses))
    assert pod is not None
    assert pod.exit is not None
    assert pod.exit.report == build.report()
    assert (pod.exit.code, pod.image_digest, pod.owner_uid) == (75, "sha256:abc", "job-uid")
    assert not pod.live


def test_when_a_pod_should_be_gone_is_read() -> None:
    raw = raw_pod()
    staying = read_pod(raw)
    raw["metadata"]["deletionTimestamp"] = "2026-01-31T10:02:00Z"
    leaving = read_pod(raw)
    assert staying is not None
    assert leaving is not None
    assert (staying.deleting, staying.leave_by) == (False, None)
    assert (leaving.deleting, leaving.leave_by) == (True, NOW + timedelta(minutes=2))


def test_last_words_that_are_no_report_are_kept_as_text() -> None:
    terminated = {"exitCode": 1, "message": "Traceback ..."}
    statuses = [{"name": "trainer", "state": {"terminated": terminated}}]
    pod = read_pod(raw_pod(containerStatuses=statuses))
    assert pod is not None
    assert pod.exit is not None
    assert (pod.exit.report, pod.exit.message) == (None, "Traceback ...")


def test_children_without_our_label_are_none_of_our_business() -> None:
    stranger = raw_pod()
    stranger["metadata"]["labels"] = {}
    assert read_pod(stranger) is None
    assert read_job(stranger) is None


def test_a_job_belongs_to_its_owner_whatever_its_label_says() -> None:
    raw = raw_pod()
    raw["metadata"]["labels"] = {**LABELS, names.LABEL_RUN_NAME: "evil"}
    owner = {"kind": names.KIND, "name": "edge", "uid": "run-uid", "controller": True}
    for owners, name in (([owner], "edge"), ([{**owner, "controller": False}], "evil")):
        raw["metadata"]["ownerReferences"] = owners
        job = read_job(raw)
        assert job is not None
        assert job.key == Key("team", name)


def test_a_wrong_spec_is_read_as_its_errors() -> None:
    raw = {
        "metadata": {
            "name": "edge",
            "namespace": "team",
            "uid": "u",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-31T10:00:00Z",
            "labels": {"app.kubernetes.io/instance": "argo"},
        },
        "spec": {"data": {"uri": "s3://metrics/edge"}, "training": {"epochs": -1}},
    }
    run = read_run(raw)
    assert run.spec is None
    assert "spec.training.epochs" in run.spec_errors[0]
    assert run.labels == {}, "no tracking label ever reaches a child"


def test_a_status_of_another_version_loses_only_what_is_strange() -> None:
    status = read_status({"phase": "Succeeded", "novelty": 1, "usage": {"gpuSeconds": "many"}})
    assert status.phase is Phase.SUCCEEDED
    assert status.usage is None


def test_the_newer_picture_wins_whichever_source_it_comes_from() -> None:
    children = Children()
    old, new = read_pod(raw_pod(5)), read_pod(raw_pod(9, phase="Running"))
    assert old is not None
    assert new is not None
    assert children.put(new)
    assert not children.put(old)
    assert children.pods(new.key)[0].phase == "Running"


def test_what_was_seen_deleted_does_not_come_back_from_an_older_list() -> None:
    children = Children()
    pod = read_pod(raw_pod(5))
    assert pod is not None
    children.put(pod)
    children.drop(pod)
    assert children.correct(listed_pods(6, pod), None) == set()
    assert children.pods(pod.key) == ()


def test_the_last_picture_of_a_deleted_pod_stays_until_the_run_is_forgotten() -> None:
    children = Children()
    statuses = [
        {
            "name": "trainer",
            "state": {"terminated": {"exitCode": 75, "startedAt": "2026-01-31T10:00:05Z"}},
        }
    ]
    pod = read_pod(raw_pod(5, containerStatuses=statuses))
    assert pod is not None
    children.drop(pod)
    (kept,) = children.pods(pod.key)
    assert kept.gone
    assert kept.exit is not None
    children.forget(pod.key)
    assert children.pods(pod.key) == ()


def test_a_list_drops_what_is_absent_but_neither_newer_nor_of_other_namespaces() -> None:
    children = Children()
    pods = [read_pod(raw_pod(version, uid)) for version, uid in ((5, "old"), (50, "new"))]
    for pod in pods:
        assert pod is not None
        children.put(pod)
    assert children.correct(listed_pods(10), "another-namespace") == set()
    assert children.correct(listed_pods(10), "team") == {Key("team", "edge")}
    assert [pod.uid for pod in children.pods(Key("team", "edge"))] == ["new"]


def test_a_list_says_nothing_about_children_of_another_kind(scene: Any) -> None:
    children = Children()
    (job,) = scene.job().observed.jobs
    children.put(job)
    assert children.correct(listed_pods(10), None) == set()
    assert children.jobs(job.key) == (job,)
    assert children.correct(Listed(kind=JobView, children=(), version=10), None) == {job.key}
    assert children.jobs(job.key) == ()


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (403, "Forbidden", Refused),
        (422, "Invalid", Invalid),
        (400, "BadRequest", Invalid),
    ],
)
def test_answers_of_the_api_server_have_names(status: int, reason: str, kind: type) -> None:
    assert type(api_error(status, reason, "text")) is kind


def test_a_newer_time_stamp_alone_is_not_written(build: Any) -> None:
    progress = build.report().progress
    before = ArgusTrainingJobStatus(phase=Phase.RUNNING, progress=progress)
    later = progress.model_copy(update={"last_update_time": NOW + timedelta(hours=1)})
    further = progress.model_copy(update={"step": 99})
    assert not differs(before, before.model_copy(update={"progress": later}))
    assert differs(before, before.model_copy(update={"progress": further}))


class ApiServer:
    """Stands in for `Cluster` at the two calls of these tests, with rules of the real one."""

    def __init__(self, jobs: list[JobView] | None = None, refusal: Exception | None = None) -> None:
        self.jobs = {job.name: job for job in jobs or []}
        self.refusal = refusal
        self.written: list[tuple[Any, Any]] = []

    async def create_job(self, job: Any) -> JobView:
        if self.refusal:
            raise self.refusal
        name = job["metadata"]["name"]
        if name in self.jobs:
            raise api_error(409, "AlreadyExists", f"jobs {name!r} already exists")
        labelled = job | {"metadata": {**job["metadata"], "uid": "new", "resourceVersion": "2"}}
        made = read_job(labelled)
        assert made is not None
        self.jobs[name] = made
        return made

    async def get_job(self, key: Key, name: str) -> JobView | None:
        return self.jobs.get(name)

    async def replace_status(self, run: Any, status: Any) -> str:
        self.written.append((run, status))
        return "2"


def carry_out(scene: Any, server: Any) -> Any:
    executor = Executor(
        cluster=server, children=Children(), configuration=scene.configuration, clock=lambda: NOW
    )
    return asyncio.run(executor.carry_out(scene.decide().actions, scene.observed))


def test_a_job_made_twice_is_one_job(scene: Any) -> None:
    server = ApiServer()
    first = carry_out(scene, server)
    second = carry_out(scene, server)
    assert first.jobs == second.jobs
    assert len(server.jobs) == 1
    assert second.refusal is None


def test_a_job_of_a_dying_predecessor_is_not_taken_for_ours(scene: Any, make_scene: Any) -> None:
    (theirs,) = make_scene().job(owner_uid="another-uid", deleting=True).observed.jobs
    observed = carry_out(scene, ApiServer([theirs]))
    assert observed.jobs == ()
    assert observed.refusal.predecessor


def test_a_job_that_ended_before_its_creation_was_known_is_looked_at_again(
    scene: Any, make_scene: Any
) -> None:
    """The answer to its creation was lost: what its pods said at the end is not in this picture."""
    (ours,) = make_scene().job_ended(JobEnd.FAILED, "PodFailurePolicy").observed.jobs
    children = Children()
    executor = Executor(
        cluster=ApiServer([ours]),  # type: ignore[arg-type]
        children=children,
        configuration=scene.configuration,
        clock=lambda: NOW,
    )
    with pytest.raises(Conflict):
        asyncio.run(executor.carry_out(scene.decide().actions, scene.observed))
    assert children.jobs(ours.key) == (ours,)


def test_a_refused_job_is_told_in_the_servers_words(scene: Any) -> None:
    refusal = api_error(403, "Forbidden", "exceeded quota: team")
    observed = carry_out(scene, ApiServer(refusal=refusal))
    assert observed.refusal.hindrance.message == "exceeded quota: team"
    assert not observed.refusal.predecessor
    assert not observed.refusal.invalid


def test_a_job_that_is_wrong_in_itself_is_told_apart_from_one_that_is_not_allowed(
    scene: Any,
) -> None:
    observed = carry_out(scene, ApiServer(refusal=api_error(422, "Invalid", "affinity: ...")))
    assert observed.refusal.invalid
    assert observed.refusal.hindrance.message == "affinity: ..."


def test_status_is_written_once_and_only_when_it_changes(scene: Any) -> None:
    server: Any = ApiServer()
    writer = StatusWriter(server, lambda: 0.0)

    async def story() -> list[bool]:
        status = scene.job().decide().status
        first = await writer.write(scene.observed.run, status)
        scene.run(status=status)
        return [bool(first), bool(await writer.write(scene.observed.run, status))]

    assert asyncio.run(story()) == [True, False]
    ((run, wire),) = server.written
    assert run.resource_version == "1"
    assert wire["phase"] == "Pending"
    json.dumps(wire)


def test_progress_waits_for_its_share_of_writes_and_facts_do_not(scene: Any, build: Any) -> None:
    now = 0.0
    writer = StatusWriter(ApiServer(), lambda: now)  # type: ignore[arg-type]
    scene.job().running("a").says("a", build.report(step=10)).store()

    def pause(run: str, step: int) -> float:
        scene.says("a", build.report(step=step))
        view = replace(scene.observed.run, key=Key("team", run))
        return writer.pause_before(view, scene.decide().status)

    assert pause("a", 10) == 0, "nothing to write"
    assert [pause(run, 11) for run in "abc"] == pytest.approx([0, 0.1, 0.2])
    assert pause("c", 12) == pytest.approx(0.2), "it keeps its turn"
    writer.forget(Key("team", "b"))
    assert pause("b", 12) == pytest.approx(0.3), "it was gone meanwhile"
    now = 0.1995  # a wake-up comes a moment early
    assert pause("c", 13) == 0
    assert pause("d", 14) == pytest.approx(0.2005)
    # The same phase, for another reason.
    status = scene.says("a", None, failure="no answer").decide().status
    before = scene.observed.run.status
    assert (status.phase, status.reason) != (before.phase, before.reason)
    assert writer.pause_before(replace(scene.observed.run, key=Key("team", "d")), status) == 0


def test_a_deadline_does_not_wait_for_the_turn_to_write_progress(scene: Any, build: Any) -> None:
    scene.spec(activeDeadlineSeconds=100)
    scene.at(50).job().running("a").says("a", build.report(step=10)).store()
    scene.at(60).says("a", build.report(step=11))
    wake_at = scene.decide().wake_at
    writer = StatusWriter(ApiServer(), lambda: 0.0)  # type: ignore[arg-type]
    for number in range(1000):
        run = replace(scene.observed.run, key=Key("team", f"other-{number}"))
        writer.pause_before(run, scene.decide().status)

    class Seen:
        async def observe(self, key: Key) -> Any:
            return scene.observed

    reconciler = Reconciler(
        runs=Runs(),
        observer=Seen(),  # type: ignore[arg-type]
        executor=None,  # type: ignore[arg-type]
        status=writer,
        events=None,  # type: ignore[arg-type]
        configuration=scene.configuration,
        clock=lambda: scene.observed.now,
    )
    pause = asyncio.run(reconciler.reconcile(build.key))
    assert pause == (wake_at - scene.observed.now).total_seconds()
    assert 0 < pause <= 40


def test_news_that_comes_again_is_one_event_for_as_long_as_that_stands(scene: Any) -> None:
    stands: dict[str, Any] = {}
    made: list[str] = []

    class ApiServer:
        async def create_event(self, namespace: str, event: Any) -> None:
            name = event["metadata"]["name"]
            if name in stands:
                raise api_error(409, "AlreadyExists", "it exists")
            stands[name] = event
            made.append(name)

        async def patch_event(self, namespace: str, name: str, patch: Any) -> None:
            if name not in stands:
                raise api_error(404, "NotFound", "there is none")
            stands[name] |= patch

    def count() -> int:
        (event,) = stands.values()
        number: int = event.get("series", {}).get("count", 1)
        return number

    server: Any = ApiServer()
    news = News(reason="Unschedulable", message="no GPU", warning=True)

    async def story() -> list[int]:
        counts = []
        writer = EventWriter(server, lambda: NOW, "operator-1")
        for _ in range(3):
            await writer.tell(scene.observed.run, news)
            counts.append(count())
        stands.clear()  # an hour later
        for _ in range(2):
            await writer.tell(scene.observed.run, news)
            counts.append(count())
        await EventWriter(server, lambda: NOW, "operator-2").tell(scene.observed.run, news)
        return [*counts, count()]

    assert asyncio.run(story()) == [1, 2, 3, 1, 2, 2]
    assert len(made) == 2


def test_runs_of_one_template_share_their_spec_unless_it_is_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spec_of(name: str, uri: str) -> Any:
        metadata = {"name": name, "namespace": "team", "uid": name, "resourceVersion": "1"}
        metadata["creationTimestamp"] = "2026-01-31T10:00:00Z"
        return read_run({"metadata": metadata, "spec": {"data": {"uri": uri}}}).spec

    assert spec_of("a", "s3://metrics/edge") is spec_of("b", "s3://metrics/edge")
    assert spec_of("a", "s3://metrics/edge") != spec_of("b", "s3://metrics/core")
    monkeypatch.setattr(reading, "MAX_SHARED", 10)
    first, second = (spec_of(name, "s3://metrics/edge") for name in "ab")
    assert first == second
    assert first is not second


def test_a_spec_that_the_reader_gives_up_on_is_an_error_of_its_own_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def give_up(raw: Any) -> Any:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(reading.ArgusTrainingJobSpec, "model_validate", give_up)
    metadata = {"name": "edge", "namespace": "team", "uid": "u", "resourceVersion": "1"}
    run = read_run({"metadata": {**metadata, "creationTimestamp": "2026-01-31T10:00:00Z"}})
    assert run.spec is None
    assert run.spec_errors == (
        "spec: cannot be read: RecursionError: maximum recursion depth exceeded",
    )


def test_a_status_is_written_to_the_very_resource_that_was_read(scene: Any) -> None:
    sent: list[tuple[Any, ...]] = []

    class Recorder(Cluster):
        def __init__(self) -> None:
            pass

        async def _request(self, *address: Any, **options: Any) -> Any:
            sent.append(address)
            return {"metadata": {"resourceVersion": "2"}}

    run = replace(scene.observed.run, uid="this-one", resource_version="1")
    version = asyncio.run(Recorder().replace_status(run, {"message": "m"}))
    assert version == "2"
    ((method, path, body),) = sent
    assert (method, path.rpartition("/")[2]) == ("PUT", "status")
    assert body["metadata"].items() >= {"uid": "this-one", "resourceVersion": "1"}.items()
    assert body["status"] == {"message": "m"}


def test_a_map_that_became_empty_reads_back_the_same(scene: Any) -> None:
    scene.spec(resourcesPerNode={"limits": {"memory": "1Gi"}}, scheduling={"nodeSelector": {}})
    status = scene.job().decide().status
    assert read_status(status.to_wire()).resolved == status.resolved


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def poll(handler: Handler, pod: PodView) -> Poll:
    """Serves one answer on this machine and lets the reader ask for it."""

    async def story() -> Poll:
        app = web.Application()
        app.router.add_get("/progress", handler)
        app.router.add_get("/elsewhere", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port: int = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as session:
                reader = ProgressReader(session, nullcontext, port)
                await reader.poll(pod, NOW, timedelta(seconds=15))
                return reader.polls_of((pod,))[pod.uid]
        finally:
            await runner.cleanup()

    return asyncio.run(story())


@pytest.fixture
def pod() -> PodView:
    found = read_pod(raw_pod(phase="Running", podIP="127.0.0.1"))
    assert found is not None
    return found


def test_a_report_is_read_from_the_pod(pod: PodView, build: Any) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=build.report().model_dump_json(by_alias=True, exclude_none=True))

    assert poll(answer, pod) == Poll(at=NOW, report=build.report(), failure=None)


async def _redirect(_: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "/elsewhere"})


async def _flood(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b" " * (names.MAX_REPORT_BYTES + 1))


async def _nonsense(_: web.Request) -> web.StreamResponse:
    return web.Response(text='{"phase": "Training", "novelty": true}')


async def _bomb(_: web.Request) -> web.StreamResponse:
    """A report of 1 KiB that would be 1 MiB."""
    body = gzip.compress(b" " * 2**20)
    assert len(body) < names.MAX_REPORT_BYTES
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


async def _another_run(_: web.Request) -> web.StreamResponse:
    words = {"runKey": "0" * 20, "phase": "Training", "time": "2026-01-31T10:00:00Z"}
    return web.json_response(words)


async def _failure(_: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


@pytest.mark.parametrize(
    ("handler", "failure"),
    [
        (_redirect, "answered 302"),
        (_flood, "more than 65536 bytes"),
        (_nonsense, "no report"),
        (_bomb, "no report"),
        (_another_run, "runKey is not that of its pod"),
        (_failure, "answered 500"),
    ],
)
def test_a_strange_answer_is_a_failure_and_no_report(
    pod: PodView, handler: Handler, failure: str
) -> None:
    result = poll(handler, pod)
    assert result.report is None
    assert failure in (result.failure or "")


def test_a_pod_is_not_asked_again_before_its_time(pod: PodView, build: Any) -> None:
    asked: list[int] = []

    async def story() -> None:
        async with aiohttp.ClientSession() as session:
            reader = ProgressReader(session, nullcontext, 9)
            for second in (0, 3, 14, 15, 20, 30):
                before = reader.polls_of((pod,))
                await reader.poll(pod, NOW + timedelta(seconds=second), timedelta(seconds=15))
                if reader.polls_of((pod,)) != before:
                    asked.append(second)

    asyncio.run(story())
    assert asked == [0, 14, 30]


class Silence:
    """A session whose pods let everybody wait until they are told to speak."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    def get(self, url: str, **options: Any) -> Any:
        self.asked += 1
        raise self.error


def minutes_asked(session: Silence, pod: PodView, minutes: int) -> list[int]:
    """Returns in which minutes a pod is asked that anybody looks at once a minute."""
    reader = ProgressReader(session, nullcontext)  # type: ignore[arg-type]
    found = []
    for minute in range(minutes):
        before = session.asked
        moment = NOW + timedelta(minutes=minute)
        asyncio.run(reader.poll(pod, moment, timedelta(minutes=1)))
        if session.asked > before:
            found.append(minute)
    return found


def test_a_pod_that_lets_us_wait_is_asked_less_and_less_often(pod: PodView) -> None:
    assert minutes_asked(Silence(TimeoutError()), pod, 20) == [0, 2, 6, 11, 16]


def test_a_pod_that_refuses_at_once_holds_nobody_and_is_asked_as_often(pod: PodView) -> None:
    assert minutes_asked(Silence(ConnectionRefusedError()), pod, 5) == [0, 1, 2, 3, 4]


def test_a_pod_that_answers_after_a_while_is_asked_as_often_as_before(pod: PodView) -> None:
    session = Silence(TimeoutError())
    reader = ProgressReader(session, nullcontext)  # type: ignore[arg-type]

    def ask(minute: int) -> int:
        asyncio.run(reader.poll(pod, NOW + timedelta(minutes=minute), timedelta(minutes=1)))
        return session.asked

    assert [ask(0), ask(1), ask(2)] == [1, 1, 2]
    session.error = ConnectionRefusedError()
    assert [ask(6), ask(7)] == [3, 4]


def test_kopf_remembers_nothing_of_an_object() -> None:
    persistence = handlers.settings().persistence
    body, patch = kopf.Body({"metadata": {"name": "a"}, "spec": {"size": 1}}), kopf.Patch()
    base, progress = persistence.diffbase_storage, persistence.progress_storage
    essence = base.build(body=body)
    base.store(body=body, patch=patch, essence=essence)
    progress.touch(body=body, patch=patch, value="now")
    assert (essence, base.fetch(body=body), patch) == ({}, {}, {})
    assert progress.clear(essence=essence) is essence, "a copy is what it is to spare"


def test_kopf_keeps_no_memory_of_an_object_beyond_its_event() -> None:
    async def story() -> tuple[bool, int]:
        memories = NoMemories()
        body: Any = {"metadata": {"uid": "a"}}
        one = await memories.recall(body, noticed_by_listing=True, memobase=kopf.Memo())
        return one.noticed_by_listing, len(list(memories.iter_all_memories()))

    assert asyncio.run(story()) == (True, 0)


def test_a_gone_pod_is_not_live(pod: PodView) -> None:
    assert pod.live
    assert not replace(pod, gone=True).live


def test_only_so_many_last_pictures_are_kept(monkeypatch: pytest.MonkeyPatch, pod: PodView) -> None:
    monkeypatch.setattr("argus_operator.children.MAX_GONE_PODS", 2)
    children = Children()
    pods = [replace(pod, key=Key("team", n), uid=n, started=NOW) for n in "abc"]
    for one in pods:
        children.drop(one)
        children.drop(one)
    assert [len(children.pods(one.key)) for one in pods] == [0, 1, 1]
    children.forget(pods[1].key)
    assert [len(children.pods(one.key)) for one in pods] == [0, 0, 1]


def test_a_clock_that_was_set_back_does_not_silence_a_pod(pod: PodView) -> None:
    session = Silence(aiohttp.ClientConnectionError("refused"))
    reader = ProgressReader(session, nullcontext)  # type: ignore[arg-type]

    async def story() -> None:
        for hours in (6, 0):
            await reader.poll(pod, NOW + timedelta(hours=hours), timedelta(seconds=15))

    asyncio.run(story())
    assert session.asked == 2


def test_a_token_that_was_refused_is_tried_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kopf ends when it is given the very credentials again that an API server refused once."""
    tokens = iter(["one", "one", "two"])
    monkeypatch.setattr(
        kopf,
        "login_with_service_account",
        lambda **_: kopf.ConnectionInfo(server="https://dns", token=next(tokens)),
    )
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(handlers.asyncio, "sleep", sleep)
    queue = WorkQueue(lambda: 0.0, random.Random(1))
    registry = handlers.register(queue, Runs(), "https://10.0.0.1")
    (login,) = registry._activities.get_all_handlers()

    async def story() -> list[Any]:
        return [await login.fn() for _ in range(3)]

    first, second, third = asyncio.run(story())
    assert (first.token, second.token, third.token) == ("one", "one", "two")
    assert first != second
    assert {info.server for info in (first, second, third)} == {"https://10.0.0.1"}
    assert pauses == [handlers.LOGIN_PAUSE]


def test_kopf_that_finds_nothing_to_watch_ends_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def operator(insights: Any, finds: bool) -> None:
        if finds:
            insights.watched_resources.add("argustrainingjobs")
        insights.ready_resources.set()
        await asyncio.sleep(0.1)
        raise RuntimeError("its end")

    monkeypatch.setattr(kopf, "operator", operator)
    with pytest.raises(WatchFailed, match="found no ArgusTrainingJob"):
        asyncio.run(process._watch(finds=False))
    with pytest.raises(WatchFailed, match="RuntimeError: its end"):
        asyncio.run(process._watch(finds=True))
