"""Jobs and pods are listed and watched; no break of a watch loses a change, or lists in vain."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from argus_contract import names
from argus_operator import connection
from argus_operator.children import Children
from argus_operator.cluster import OWN_CHILDREN, Cluster
from argus_operator.connection import WatchEvent
from argus_operator.errors import ApiError, ApiUnreachable, OperatorError, WatchFailed, api_error
from argus_operator.queue import WorkQueue
from argus_operator.reading import Raw, read_pod
from argus_operator.reflector import GIVE_UP_SECONDS, LAST_PAUSE, Reflector, _Course
from argus_operator.resync import Resync
from argus_operator.runs import Runs
from argus_operator.urgency import GATHER_SECONDS, START_SECONDS
from argus_operator.views import JobView, Key, Listed, ListedRuns, PodView

KEY = Key("team", "edge")
EXPIRED = api_error(410, "Expired", "too old resource version")
BUSY = api_error(429, "TooManyRequests", "later")
UNREACHABLE = ApiUnreachable("connection reset")


class Enough(Exception):
    """The script of a test is over."""


def raw_pod(version: int, **status: Any) -> Raw:
    labels = {names.LABEL_RUN_NAME: "edge", names.LABEL_COMPONENT: names.COMPONENT_TRAINER}
    owner = {"kind": "Job", "name": "edge-1", "uid": "job-uid", "controller": True}
    metadata = {"namespace": "team", "name": "edge-1-a", "uid": "pod-uid", "labels": labels}
    return {
        "metadata": {**metadata, "resourceVersion": str(version), "ownerReferences": [owner]},
        "status": status,
    }


def pod_event(version: int, kind: str = "MODIFIED", **status: Any) -> WatchEvent:
    return WatchEvent(kind, raw_pod(version, **status), version)


def bookmark(version: int) -> WatchEvent:
    return WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": str(version)}}, version)


class Server(Cluster):
    """An API server whose watches of pods say what a script says, and then end or fail."""

    def __init__(self, *watches: list[WatchEvent | OperatorError]) -> None:
        self.asked: list[str | int] = []
        self.pods, self.newest = [raw_pod(10)], 10
        self.listing: Callable[[], None] = lambda: None
        self._watches = iter(watches)

    async def list_jobs(self, namespace: str | None) -> Listed:
        await asyncio.Event().wait()
        raise AssertionError

    async def list_pods(self, namespace: str | None) -> Listed:
        self.asked.append("list")
        self.listing()
        pods = tuple(filter(None, map(read_pod, self.pods)))
        return Listed(kind=PodView, children=pods, version=self.newest)

    async def watch_pods(self, namespace: str | None, version: int) -> AsyncIterator[WatchEvent]:
        self.asked.append(version)
        script = next(self._watches, None)
        if script is None:
            raise Enough
        for said in script:
            if isinstance(said, OperatorError):
                raise said
            yield said


class Story:
    def __init__(self, *watches: list[WatchEvent | OperatorError]) -> None:
        self.server = Server(*watches)
        self.children, self.pauses, self.now = Children(), list[float](), 0.0
        self.queue = WorkQueue(lambda: self.now, random.Random(1))
        self.queue.open()
        self.reflector = Reflector(
            cluster=self.server,
            children=self.children,
            queue=self.queue,
            namespaces=(),
            clock=lambda: self.now,
            jitter=random.Random(1),
        )

    def play(self) -> "Story":
        async def sleep(seconds: float) -> None:
            self.pauses.append(seconds)

        with pytest.raises(Enough):
            asyncio.run(self.reflector.run(sleep))
        return self

    def version(self) -> int:
        (pod,) = self.children.pods(KEY)
        return pod.resource_version


@pytest.mark.parametrize(
    ("watches", "asked"),
    [
        pytest.param([[pod_event(12)]], ["list", 10, 12], id="its time is over"),
        pytest.param([[bookmark(15)]], ["list", 10, 15], id="nothing changed for a while"),
        pytest.param([[pod_event(12), UNREACHABLE]], ["list", 10, 12], id="connection lost"),
        pytest.param([[UNREACHABLE], []], ["list", 10, 10, 10], id="connection refused"),
        pytest.param([[pod_event(12), EXPIRED]], ["list", 10, "list", 10], id="version forgotten"),
        pytest.param([[pod_event(12), BUSY]], ["list", 10, 12], id="too many requests"),
        pytest.param([[BUSY]] * 5, ["list", *[10] * 5, "list", 10], id="refused for long"),
    ],
)
def test_a_watch_goes_on_where_it_was_and_lists_only_if_it_must(
    watches: list[Any], asked: list[str | int]
) -> None:
    assert Story(*watches).play().server.asked == asked


def test_a_change_names_its_run_and_an_older_picture_does_not_win() -> None:
    story = Story([pod_event(12, phase="Running"), pod_event(11, phase="Pending")])
    hear, due = story.reflector.hear, []

    def hear_and_take(event: WatchEvent, read: Any) -> None:
        take_all(story)
        hear(event, read)
        story.now += GATHER_SECONDS + START_SECONDS
        due.append(take_all(story))

    story.reflector.hear = hear_and_take  # type: ignore[method-assign]
    assert story.play().version() == 12
    assert due == [[KEY], []]


def take_all(story: Story) -> list[Key]:
    taken = []
    while key := story.queue._take():
        story.queue.done(key)
        taken.append(key)
    return taken


def test_what_went_in_a_gap_of_the_watches_is_found_by_the_next_list() -> None:
    story = Story([pod_event(12), EXPIRED])

    def lose() -> None:
        if len(story.server.asked) > 1:
            story.server.pods, story.server.newest = [], 20
            take_all(story)

    story.server.listing = lose
    assert story.play().children.pods(KEY) == ()
    assert take_all(story) == [KEY]


def test_a_pod_that_is_gone_is_dropped_and_one_that_cannot_be_read_stops_nobody() -> None:
    unreadable = WatchEvent("MODIFIED", {"metadata": {"labels": 1}}, 12)
    assert Story([unreadable, pod_event(13)]).play().version() == 13
    assert Story([pod_event(12, "DELETED")]).play().children.pods(KEY) == ()


def test_watches_that_break_at_once_are_made_less_and_less_often() -> None:
    broken: list[list[WatchEvent | OperatorError]] = [[UNREACHABLE] for _ in range(12)]
    pauses = Story(*broken).play().pauses
    assert pauses[0] <= 0.1
    assert LAST_PAUSE / 2 <= pauses[-1] <= LAST_PAUSE
    assert pauses[:3] == sorted(pauses[:3])


def test_a_watch_that_lasted_is_made_again_at_once_and_a_slow_failure_is_not() -> None:
    story = Story([UNREACHABLE], [UNREACHABLE], [UNREACHABLE], [pod_event(12)])
    hear = story.reflector.hear

    def hear_late(event: WatchEvent, read: Any) -> None:
        story.now += LAST_PAUSE + 1
        hear(event, read)

    story.reflector.hear = hear_late  # type: ignore[method-assign]
    assert story.play().pauses[-1] <= 0.1

    def list_in_vain() -> None:
        slow.now += 20
        if len(slow.server.asked) > 8:
            raise Enough
        raise UNREACHABLE

    slow = Story()
    slow.server.listing = list_in_vain
    assert slow.play().pauses[-1] >= LAST_PAUSE / 2


def test_a_watch_that_is_refused_for_ten_minutes_ends_the_operator() -> None:
    forbidden = api_error(403, "Forbidden", "may not watch pods")
    story = Story(*[[forbidden]] * 5)

    async def sleep(_: float) -> None:
        story.now += 301

    with pytest.raises(WatchFailed, match=r"pods cannot be watched.*may not watch pods"):
        asyncio.run(story.reflector.run(sleep))
    assert story.now == 602


def test_versions_that_go_back_end_the_operator() -> None:
    class Restored(Server):
        async def list_jobs(self, namespace: str | None) -> Listed:
            return Listed(kind=JobView, children=(), version=5)

        async def list_runs(self, *_: Any) -> AsyncIterator[ListedRuns]:
            yield ListedRuns(keys=(), documents=(), version=10)

    server = Restored()
    resync = Resync(
        cluster=server,
        runs=Runs(),
        children=Children(),
        queue=WorkQueue(lambda: 0.0, random.Random(1)),
        namespaces=(),
        clock=lambda: 0.0,
    )

    async def story() -> None:
        await resync.fill()
        await resync.check(0.0)
        server.newest = 9
        with pytest.raises(WatchFailed, match="from 10 to 9"):
            await resync.check(0.0)

    asyncio.run(story())


# --- the bytes of a watch -----------------------------------------------------------------------

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def watch(handler: Handler) -> tuple[list[WatchEvent], OperatorError | None]:
    """Serves one watch of pods on this machine; returns what it told, and how it broke."""

    async def story() -> tuple[list[WatchEvent], OperatorError | None]:
        app = web.Application()
        app.router.add_get("/api/v1/pods", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        settings = client.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
        cluster = Cluster(client.ApiClient(configuration=settings))
        told: list[WatchEvent] = []
        try:
            async for event in cluster.watch_pods(None, 10):
                told.append(event)  # noqa: PERF401 - what came before an error counts
        except OperatorError as error:
            return told, error
        finally:
            await cluster.close()
            await runner.cleanup()
        return told, None

    return asyncio.run(story())


def line(event: WatchEvent) -> bytes:
    return json.dumps({"type": event.type, "object": event.object}).encode() + b"\n"


def saying(*chunks: bytes) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.01)
        return response

    return handler


def test_events_are_read_however_their_bytes_arrive_and_half_an_event_is_none() -> None:
    events = [pod_event(11, note="ü" * 200_000), pod_event(12), bookmark(13)]
    text = b"".join(map(line, events)) + line(pod_event(14))[:-20]
    pieces = [text[at : at + 70_000] for at in range(0, len(text), 70_000)]
    assert watch(saying(*pieces)) == (events, None)


def test_a_watch_asks_for_our_own_children_from_a_version_on_and_for_bookmarks() -> None:
    asked: dict[str, str] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.update(request.query)
        return await saying()(request)

    watch(handler)
    seconds = int(asked.pop("timeoutSeconds"))
    assert 300 <= seconds <= 600
    assert asked == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "labelSelector": OWN_CHILDREN,
        "resourceVersion": "10",
    }


def test_what_the_api_server_says_instead_of_an_event_ends_the_watch_with_its_words() -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    error = WatchEvent("ERROR", gone, 0)
    told, broken = watch(saying(line(pod_event(11)) + line(error)))
    assert [event.version for event in told] == [11]
    assert isinstance(broken, ApiError)
    assert (broken.status, broken.message) == (410, "too old")

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"reason": "Forbidden", "message": "may not watch"}, status=403)

    _, broken = watch(refuse)
    assert str(broken) == "403 Forbidden: may not watch"


def test_nonsense_breaks_a_watch_and_silence_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, broken = watch(saying(b"<html>502</html>\n"))
    assert isinstance(broken, ApiUnreachable)
    assert "502" in str(broken)
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.1)

    async def be_silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(line(pod_event(11)))
        await asyncio.sleep(2)
        return response

    told, broken = watch(be_silent)
    assert ([event.version for event in told], broken) == ([11], None)


def test_an_outage_is_no_refusal() -> None:
    course = _Course("pods")
    course.begins(0.0)
    for second in range(0, 700, 10):
        course.breaks(UNREACHABLE, float(second))
    course.breaks(BUSY, 700.0)
    course.breaks(UNREACHABLE, 1000.0)
    course.breaks(BUSY, 1100.0)
    course.breaks(BUSY, 1100.0 + GIVE_UP_SECONDS)
    with pytest.raises(WatchFailed):
        course.breaks(BUSY, 1101.0 + GIVE_UP_SECONDS)


def test_a_job_that_got_its_label_back_is_known_again(scene: Any) -> None:
    (job,) = scene.job().observed.jobs
    children = Children()
    children.put(job)
    without = replace(job, resource_version=6)
    children.drop(without)  # what a watch with a selector says of it
    assert children.jobs(job.key) == ()
    assert not children.put(job), "an older list does not bring it back"
    assert children.put(replace(job, resource_version=7))


def test_a_child_that_was_given_the_label_of_another_run_is_not_kept_by_both(scene: Any) -> None:
    (job,) = scene.job().observed.jobs
    children, another = Children(), Key("team", "another")
    children.put(job)
    moved = replace(job, key=another, resource_version=6)
    children.put(moved)
    children.correct(Listed(kind=JobView, children=(moved,), version=9), None)
    assert children.jobs(job.key) == ()
    assert children.jobs(another) == (moved,)
