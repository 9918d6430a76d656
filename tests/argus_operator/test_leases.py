"""Who may act: one replica of an installation, one installation of a namespace.

The API server's part (conflicts, absence) is played; an event loop whose time jumps to the
next timer lets minutes pass at once. Real processes on a real API server: `tests/api`.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from argus_contract.names import ANNOTATION_REFUSED_BY, SCOPE_LEASE
from argus_operator import election as elections
from argus_operator import scopes
from argus_operator.cluster import Cluster
from argus_operator.election import Election
from argus_operator.errors import (
    ApiUnreachable,
    LeadershipLost,
    NotLeading,
    ScopeTaken,
    api_error,
)
from argus_operator.lease import Lease
from argus_operator.reading import read_lease
from argus_operator.scopes import Scopes
from argus_operator.views import LeaseView

HOME = "argus-system"


class Leaping(selectors.DefaultSelector):
    """Waits for nothing: the time that it should wait has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.leaping = Leaping()
        super().__init__(self.leaping)

    def time(self) -> float:
        return self.leaping.now


def live(story: Callable[["Server"], Awaitable[Any]]) -> Any:
    """Runs a story in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def told() -> Any:
            return await story(Server())

        return runner.run(told())


def now() -> float:
    return asyncio.get_running_loop().time()


class Server:
    """The lease calls of `Cluster`, and who is cut off from them."""

    def __init__(self) -> None:
        self.leases: dict[tuple[str, str], LeaseView] = {}
        self.version = 0
        self.silent = False
        """True: requests are taken, and never answered."""
        self.loses_answers = False
        self.writes: list[tuple[float, str]] = []
        self.refusals: list[str] = []

    async def get_lease(self, namespace: str, name: str) -> LeaseView | None:
        await self._reach()
        return self.leases.get((namespace, name))

    async def list_leases(self, name: str) -> list[LeaseView]:
        await self._reach()
        return [lease for lease in self.leases.values() if lease.name == name]

    async def create_lease(self, namespace: str, lease: Any) -> LeaseView:
        await self._reach()
        if (namespace, lease["metadata"]["name"]) in self.leases:
            raise api_error(409, "AlreadyExists", "it exists")
        return self._store(lease)

    async def replace_lease(self, namespace: str, name: str, lease: Any) -> LeaseView:
        await self._reach()
        known = self.leases.get((namespace, name))
        if known is None:
            raise api_error(404, "NotFound", "there is none")
        if lease["metadata"]["resourceVersion"] != known.resource_version:
            raise api_error(409, "Conflict", "the object has been modified")
        return self._store(lease)

    async def annotate_lease(self, lease: LeaseView, annotations: Any) -> None:
        await self._reach()
        known = self.leases[(lease.namespace, lease.name)]
        if lease.resource_version != known.resource_version:
            raise api_error(409, "Conflict", "the object has been modified")
        self.version += 1
        self.refusals.append(lease.namespace)
        self.leases[(lease.namespace, lease.name)] = replace(
            known,
            resource_version=str(self.version),
            refused_by=annotations[ANNOTATION_REFUSED_BY],
        )

    async def _reach(self) -> None:
        if self.silent:
            await asyncio.sleep(4.0)  # the patience of a request about a lease
            raise ApiUnreachable("no answer")

    def _store(self, raw: Any) -> LeaseView:
        self.version += 1
        metadata = {**raw["metadata"], "resourceVersion": str(self.version)}
        lease = read_lease({**raw, "metadata": metadata})
        self.leases[(lease.namespace, lease.name)] = lease
        self.writes.append((now(), lease.holder))
        if self.loses_answers:
            raise ApiUnreachable("the connection was closed")
        return lease


def make_election(server: Any, holder: str) -> Election:
    return Election(
        Lease(
            cluster=server,
            namespace=HOME,
            name="argus-operator",
            holder=holder,
            terms=elections.TERMS,
            clock=now,
        )
    )


def make_scopes(server: Any, installation: str, *namespaces: str) -> Scopes:
    home = installation.partition("/")[0]
    return Scopes(
        cluster=server,
        installation=installation,
        leases=[
            Lease(
                cluster=server,
                namespace=namespace,
                name=SCOPE_LEASE,
                holder=installation,
                terms=scopes.TERMS,
                clock=now,
            )
            for namespace in namespaces or (home,)
        ],
        serves_all=not namespaces,
        clock=now,
    )


async def end_of(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- one replica ------------------------------------------------------------------------------


def test_one_replica_leads_and_the_other_stands_by_for_as_long_as_it_does() -> None:
    async def story(server: Server) -> tuple[bool, bool, str | None]:
        first, second = make_election(server, "a"), make_election(server, "b")
        tasks = [asyncio.create_task(one.run()) for one in (first, second)]
        await asyncio.sleep(3600)
        leads = (first.elected.is_set(), second.elected.is_set(), second.lease.other)
        await end_of(*tasks)
        return leads

    assert live(story) == (True, False, "a")


def test_a_crashed_leader_is_followed_within_twenty_seconds() -> None:
    async def story(server: Server) -> float:
        first, second = make_election(server, "a"), make_election(server, "b")
        crashing = asyncio.create_task(first.run())
        await first.elected.wait()
        await asyncio.sleep(0.7)
        standing_by = asyncio.create_task(second.run())
        await asyncio.sleep(60.0)
        crashed = now()
        await end_of(crashing)
        await second.elected.wait()
        took = now() - crashed
        await end_of(standing_by)
        return took

    assert 13 <= live(story) <= 17.1


def test_a_leader_that_stops_is_followed_at_once() -> None:
    async def story(server: Server) -> float:
        first, second = make_election(server, "a"), make_election(server, "b")
        stopping = asyncio.create_task(first.run())
        await first.elected.wait()
        standing_by = asyncio.create_task(second.run())
        await asyncio.sleep(60.0)
        await end_of(stopping)
        await first.release()
        stopped = now()
        await second.elected.wait()
        took = now() - stopped
        await end_of(standing_by)
        return took

    assert live(story) <= elections.TERMS.retry


def test_a_leader_that_reaches_nobody_has_stopped_before_another_can_begin() -> None:
    async def story(server: Server) -> tuple[float, float, float]:
        cut_off = Server()
        cut_off.leases = server.leases  # the same leases, over a line that will fall silent
        first, second = make_election(cut_off, "a"), make_election(server, "b")
        leading = asyncio.create_task(first.run())
        await first.elected.wait()
        standing_by = asyncio.create_task(second.run())
        await asyncio.sleep(60.0)
        last_write = cut_off.writes[-1][0]
        cut_off.silent = True
        with pytest.raises(LeadershipLost, match="could not be renewed"):
            await leading
        ended = now() - last_write
        assert first.lease.left() == 0
        await second.elected.wait()
        taken = now() - last_write
        await end_of(standing_by)
        return ended, taken, elections.TERMS.duration

    ended, taken, duration = live(story)
    assert ended <= elections.TERMS.deadline
    assert taken >= duration


def test_a_leader_that_was_paused_knows_that_its_time_is_over() -> None:
    async def story(server: Server) -> None:
        first, second = make_election(server, "a"), make_election(server, "b")
        leading = asyncio.create_task(first.run())
        await first.elected.wait()
        await end_of(leading)  # it does nothing, and does not know
        standing_by = asyncio.create_task(second.run())
        await second.elected.wait()
        assert first.lease.left() == 0
        assert not await first.lease.hold()
        assert first.lease.other == "b"
        await end_of(standing_by)

    live(story)


def test_two_that_begin_at_the_same_moment_are_one_leader() -> None:
    async def story(server: Server) -> int:
        found = [make_election(server, holder) for holder in "abcde"]
        tasks = [asyncio.create_task(one.run()) for one in found]
        await asyncio.sleep(30)
        leading = sum(one.lease.left() > 0 for one in found)
        await end_of(*tasks)
        return leading

    assert live(story) == 1


def test_a_renewal_whose_answer_was_lost_is_found_to_be_ours() -> None:
    async def story(server: Server) -> bool:
        election = make_election(server, "a")
        leading = asyncio.create_task(election.run())
        await election.elected.wait()
        server.loses_answers = True
        await asyncio.sleep(3)
        server.loses_answers = False
        await asyncio.sleep(60)
        leads = election.lease.left() > 0
        await end_of(leading)
        return leads

    assert live(story)


def test_a_lease_that_somebody_else_took_by_hand_ends_the_leader() -> None:
    async def story(server: Server) -> None:
        election = make_election(server, "a")
        leading = asyncio.create_task(election.run())
        await election.elected.wait()
        key = (HOME, "argus-operator")
        server.leases[key] = replace(
            server.leases[key], holder="a person", resource_version="taken"
        )
        with pytest.raises(LeadershipLost, match="is held by a person"):
            await leading

    live(story)


def test_without_the_lease_no_write_leaves_the_process() -> None:
    async def story() -> None:
        sent: list[str] = []

        class Api:
            async def param_serialize(self, method: str, *_: Any, **__: Any) -> tuple[str]:
                sent.append(method)
                raise ApiUnreachable("far enough")

        api: Any = Api()
        cluster = Cluster(api)
        cluster.fence(lambda: 0.0)
        with pytest.raises(NotLeading):
            await cluster.create_event("team", {})
        assert sent == []
        with pytest.raises(ApiUnreachable):
            await cluster.list_jobs(None)
        assert sent == ["GET"], "reading is free"

    asyncio.run(story())


# --- one installation ---------------------------------------------------------------------------


async def serve(claims: Scopes) -> asyncio.Task[None]:
    """Claims, and goes on serving."""
    await claims.claim()
    return asyncio.create_task(claims.keep())


async def is_refused(claims: Scopes) -> str:
    with pytest.raises(ScopeTaken) as refusal:
        await claims.claim()
    await claims.give_back()
    return str(refusal.value)


def test_installations_that_share_no_namespace_serve_side_by_side() -> None:
    async def story(server: Server) -> None:
        tasks = [
            await serve(make_scopes(server, "one/argus-operator", "a", "b")),
            await serve(make_scopes(server, "two/argus-operator", "c")),
        ]
        await asyncio.sleep(3600)
        assert not any(task.done() for task in tasks)
        await end_of(*tasks)

    live(story)


@pytest.mark.parametrize(
    ("first", "second", "tells"),
    [
        ((), (), "served already, by one/argus-operator (Lease one/argus-scope)"),
        (("a",), (), "namespace a is served already, by one/argus-operator (Lease a/argus-scope)"),
        (
            (),
            ("a",),
            "namespace a is served already, by one/argus-operator (Lease one/argus-scope), which "
            "serves all namespaces",
        ),
        (("a", "b"), ("b", "c"), "namespace b is served already, by one/argus-operator"),
    ],
    ids=["all and all", "named, then all", "all, then named", "named and named"],
)
def test_the_second_to_serve_a_namespace_is_refused_and_told_who_was_first(
    first: tuple[str, ...], second: tuple[str, ...], tells: str
) -> None:
    async def story(server: Server) -> str:
        serving = await serve(make_scopes(server, "one/argus-operator", *first))
        await asyncio.sleep(100)
        text = await is_refused(make_scopes(server, "two/argus-operator", *second))
        await asyncio.sleep(100)
        assert not serving.done(), "who was first goes on"
        await end_of(serving)
        return text

    text = live(story)
    assert tells in text
    assert "Give both installations watchNamespaces that share none" in text


@pytest.mark.parametrize(("first", "second"), [((), ()), (("a",), ()), ((), ("a",))])
def test_a_place_whose_owner_is_gone_is_free_after_a_minute(
    first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    async def story(server: Server) -> float:
        await end_of(await serve(make_scopes(server, "one/argus-operator", *first)))
        began = now()
        await end_of(await serve(make_scopes(server, "two/argus-operator", *second)))
        return now() - began

    assert live(story) <= scopes.TERMS.duration + 2 * scopes.LOOK_SECONDS


def test_another_replica_of_the_same_installation_serves_on_without_waiting() -> None:
    async def story(server: Server) -> tuple[float, float]:
        waits = []
        for namespaces in ((), ("a", "b")):
            began = now()
            await end_of(await serve(make_scopes(server, "one/argus-operator", *namespaces)))
            between = now()
            await end_of(await serve(make_scopes(server, "one/argus-operator", *namespaces)))
            assert now() == between, "the second time nobody is waited for"
            waits.append(between - began)
        return waits[0], waits[1]

    assert live(story) == (0.0, scopes.REFUSAL_SECONDS)


def test_one_that_cannot_list_the_others_does_not_take_them_for_gone() -> None:
    async def story(server: Server) -> str:
        serving = await serve(make_scopes(server, "one/argus-operator", "a"))
        listing, failures = server.list_leases, iter(range(3))

        async def list_leases(name: str) -> list[LeaseView]:
            if next(failures, None) is not None:
                raise ApiUnreachable("no answer")
            return await listing(name)

        server.list_leases = list_leases  # type: ignore[method-assign]
        refusal = await is_refused(make_scopes(server, "two/argus-operator"))
        assert server.refusals == []
        assert not serving.done()
        await end_of(serving)
        return refusal

    assert "served already, by one/argus-operator" in live(story)


def test_who_came_while_the_first_was_away_for_a_moment_is_sent_off() -> None:
    async def story(server: Server) -> str:
        first = make_scopes(server, "one/argus-operator")
        await end_of(await serve(first))
        await asyncio.sleep(20)
        serving = await serve(make_scopes(server, "two/argus-operator", "a"))
        back = asyncio.create_task(serve(make_scopes(server, "one/argus-operator")))
        await asyncio.wait([serving])
        assert not back.done(), "nobody acts beside the one that is still there"
        with pytest.raises(ScopeTaken) as refusal:
            await serving
        await asyncio.sleep(scopes.TERMS.duration + 5)
        await end_of(await back)
        return str(refusal.value)

    assert "one/argus-operator (Lease one/argus-scope)" in live(story)


def test_a_lease_that_only_pretends_to_serve_cannot_stop_who_is_there() -> None:
    async def story(server: Server) -> None:
        serving = await serve(make_scopes(server, "one/argus-operator"))
        pretender = make_scopes(server, "tenant/pretender", "a")
        lease = pretender._leases[0]
        for _ in range(100):  # it renews, whatever it is told
            await lease.look()
            await lease.hold()
            await asyncio.sleep(1)
        assert not serving.done()
        await end_of(serving)
        again = asyncio.create_task(serve(make_scopes(server, "one/argus-operator")))
        for _ in range(80):
            await lease.look()
            await lease.hold()
            await asyncio.sleep(1)
        assert again.done(), "nor can it keep another replica from acting"
        await end_of(await again)

    live(story)


@pytest.mark.parametrize("namespaces", [("a",), ()], ids=["of one namespace", "of all"])
def test_an_installation_that_cannot_renew_its_place_stops_in_time(
    namespaces: tuple[str, ...],
) -> None:
    async def story(server: Server) -> float:
        claims = make_scopes(server, "one/argus-operator", *namespaces)
        serving = await serve(claims)
        await asyncio.sleep(60)
        last = server.writes[-1][0]
        server.silent = True
        with pytest.raises(LeadershipLost):
            await serving
        assert claims.left() == 0
        return now() - last

    assert live(story) < scopes.TERMS.duration


@pytest.mark.parametrize("year", ["0000", "10000"])
def test_a_lease_of_a_year_that_is_none_is_read_as_never_renewed(year: str) -> None:
    """The API server takes it from whoever may write Leases in a namespace."""
    metadata = {"namespace": "tenant", "name": SCOPE_LEASE, "resourceVersion": "7"}
    spec = {"holderIdentity": "x/y", "leaseDurationSeconds": 60}
    spec["renewTime"] = f"{year}-06-01T00:00:00.000000Z"
    lease = read_lease({"metadata": metadata, "spec": spec})
    assert (lease.holder, lease.renewed) == ("x/y", None)


def test_who_was_refused_and_does_not_obey_keeps_nobody_from_coming_back() -> None:
    async def story(server: Server) -> None:
        first = make_scopes(server, f"{HOME}/argus-operator")
        await first.claim()
        own = server.leases[(HOME, SCOPE_LEASE)]
        server.leases[(HOME, SCOPE_LEASE)] = replace(own, renewed=None)  # away for long
        refusal = f"{HOME}/argus-operator (Lease {HOME}/{SCOPE_LEASE}), which serves all namespaces"

        async def pretend() -> None:
            while True:
                server.version += 1
                server.leases[("tenant", SCOPE_LEASE)] = replace(
                    own,
                    namespace="tenant",
                    holder="x/y",
                    resource_version=str(server.version),
                    refused_by=refusal,
                )
                await asyncio.sleep(5)

        pretending = asyncio.create_task(pretend())
        await asyncio.sleep(1)
        await make_scopes(server, f"{HOME}/argus-operator").claim()
        await end_of(pretending)

    live(story)


def test_a_lease_that_somebody_deleted_is_made_again() -> None:
    async def story(server: Server) -> tuple[bool, bool]:
        election = make_election(server, "a")
        claims = make_scopes(server, f"{HOME}/argus-operator", "team", "other")
        electing = asyncio.create_task(election.run())
        await election.elected.wait()
        await claims.claim()
        keeping = asyncio.create_task(claims.keep())
        await asyncio.sleep(60)
        server.leases.clear()
        await asyncio.sleep(120)
        lasted = not electing.done(), not keeping.done()
        await end_of(electing, keeping)
        return lasted

    assert live(story) == (True, True)


def test_a_lease_whose_renewal_is_on_its_way_is_given_up_all_the_same() -> None:
    async def story(server: Server) -> str:
        election = make_election(server, "a")
        electing = asyncio.create_task(election.run())
        await election.elected.wait()
        await end_of(electing)
        server.version += 1  # the renewal arrives, and its answer reaches nobody
        key = (HOME, "argus-operator")
        server.leases[key] = replace(server.leases[key], resource_version=str(server.version))
        await election.release()
        return server.leases[key].holder

    assert live(story) == ""
