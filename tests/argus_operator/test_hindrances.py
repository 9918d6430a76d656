"""The words of a cluster's events cost the API server a bounded part of its time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from argus_operator.children import Children
from argus_operator.errors import ApiUnreachable, api_error
from argus_operator.hindrances import Hindrances, read_warning
from argus_operator.views import Hindrance, JobView, Key

START = datetime(2026, 1, 31, 10, 0, 0, tzinfo=UTC)


def job(name: str, namespace: str = "team") -> JobView:
    return JobView(
        key=Key(namespace, name),
        name=name,
        uid=f"uid-{name}",
        resource_version=1,
        owner_uid="run",
        created=START,
        planning=False,
    )


def warning(name: str, seconds: float, note: str = "quota", **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"creationTimestamp": text_of(seconds)},
        "regarding": {"kind": "Job", "uid": f"uid-{name}"},
        "reason": "FailedCreate",
        "note": note,
        **fields,
    }


def text_of(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Events:
    """The API server's; a list of them takes `cost` seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cost = 0.0
        self.raw: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.waiting = 0

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        self.waiting += 1
        yield

    async def list_warnings(self, namespace: str, read: Callable[[Any], Any]) -> list[Any]:
        self.asked.append(namespace)
        await asyncio.sleep(0)
        self.now += self.cost
        if self.error:
            raise self.error
        return [found for raw in self.raw if (found := read(raw))]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def hindrances(events: Events) -> Hindrances:
    children = Children()
    for name in ("a", "b"):
        children.put(job(name))
    children.put(job("far", "other"))
    cluster: Any = events
    return Hindrances(cluster, children, events.lent, lambda: events.now)


def told(hindrances: Hindrances, name: str, namespace: str = "team", since: float = 0) -> list[str]:
    when = START + timedelta(seconds=since)
    found = asyncio.run(hindrances.of(namespace, f"uid-{name}", when))
    return [hindrance.message for hindrance in found]


def test_each_reads_of_itself_what_is_new_the_newest_first(
    events: Events, hindrances: Hindrances
) -> None:
    events.raw = [warning("a", 1, "old"), warning("a", 5, "first"), warning("a", 9, "last")]
    events.raw += [warning("b", 7, "other"), warning("stranger", 8, "nothing to us")]
    assert told(hindrances, "a", since=5) == ["last", "first"]
    assert told(hindrances, "b") == ["other"]
    assert told(hindrances, "stranger") == []


def test_one_list_serves_all_runs_of_a_namespace_for_a_while(
    events: Events, hindrances: Hindrances
) -> None:
    async def all_at_once() -> None:
        asking = [hindrances.of("team", f"uid-{name}", START) for name in "ab" * 50]
        await asyncio.gather(*asking)

    asyncio.run(all_at_once())
    assert events.asked == ["team"]
    events.raw = [warning("a", 3)]
    events.now = 9.9
    assert told(hindrances, "a") == []
    events.now = 10.1
    assert told(hindrances, "a") == ["quota"]
    told(hindrances, "far", "other")
    assert events.asked == ["team", "team", "other"]


def test_a_list_that_took_long_is_good_for_longer(events: Events, hindrances: Hindrances) -> None:
    events.cost = 2.0
    told(hindrances, "a")
    events.now += 39.0
    told(hindrances, "a")
    assert len(events.asked) == 1
    events.now += 2.0
    told(hindrances, "a")
    assert len(events.asked) == 2


def test_where_a_list_fails_the_last_one_counts(events: Events, hindrances: Hindrances) -> None:
    events.error = ApiUnreachable("no answer")
    assert told(hindrances, "a") == []
    events.now, events.error, events.raw = 11.0, None, [warning("a", 1)]
    assert told(hindrances, "a") == ["quota"]
    events.now, events.error = 22.0, api_error(429, "TooManyRequests", "later")
    told(hindrances, "far", "other")
    assert told(hindrances, "a") == ["quota"]
    events.now, events.error, events.raw = 33.0, None, []
    assert told(hindrances, "a") == []


def test_a_bug_is_told_to_who_waits_and_to_nobody_later(
    events: Events, hindrances: Hindrances
) -> None:
    events.error = KeyError("regarding")
    with pytest.raises(KeyError):
        told(hindrances, "a")
    events.error, events.raw = None, [warning("a", 1)]
    assert told(hindrances, "a") == ["quota"]


def test_who_waits_for_a_list_lets_others_work_and_who_has_one_goes_on(
    events: Events, hindrances: Hindrances
) -> None:
    told(hindrances, "a")
    told(hindrances, "b")
    assert events.waiting == 1


def test_one_who_gives_up_does_not_take_the_list_from_the_others(
    events: Events, hindrances: Hindrances
) -> None:
    events.raw = [warning("b", 1)]

    async def one_leaves() -> tuple[Hindrance, ...]:
        first = asyncio.create_task(hindrances.of("team", "uid-a", START))
        second = asyncio.create_task(hindrances.of("team", "uid-b", START))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert len(asyncio.run(one_leaves())) == 1
    assert len(events.asked) == 1


def test_without_the_right_to_read_events_nothing_is_told(
    events: Events, hindrances: Hindrances
) -> None:
    events.error = api_error(403, "Forbidden", "events is forbidden")
    assert told(hindrances, "a") == told(hindrances, "b") == []
    assert len(events.asked) == 1


def test_an_event_counts_from_when_it_was_last_seen() -> None:
    ours = frozenset({"uid-a"})
    series = {"series": {"lastObservedTime": text_of(30)}}
    for raw, seconds in [
        (warning("a", 1, **series), 30),
        (warning("a", 1, deprecatedLastTimestamp=text_of(20)), 20),
        (warning("a", 1, eventTime=text_of(15), series=None), 15),
        (warning("a", 1, regarding={"uid": "uid-a"}, reason=None, note=None), 1),
    ]:
        found = read_warning(raw, ours)
        assert found is not None
        assert found.at == START + timedelta(seconds=seconds)
    assert read_warning({**warning("a", 1), "regarding": None}, ours) is None


@pytest.mark.parametrize("text", ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "never"])
def test_an_event_of_a_time_that_is_none_is_left_out(text: str) -> None:
    raw = warning("a", 1, deprecatedLastTimestamp=text)
    assert read_warning(raw, frozenset({"uid-a"})) is None
