"""Whatever happens to the operator and its API server, runs end as if nothing had happened.

Each at a small size in `make test`, and at length by `make chaos`, which keeps a table.
"""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stage.bad_network import BadNetwork
from stage.control_plane import ControlPlane
from stage.operator_process import NAMESPACE, Chart, OperatorProcess
from stage.supervised import Kubelet, Runs
from stage.trainers import EVICTED, NO_DATA, PUBLISHED, STUCK, Story, Trainers
from stage.waiting import until

pytestmark = pytest.mark.timeout(3000)

STORIES: dict[str, Story] = {
    "evicted": (EVICTED, PUBLISHED),
    "calm": (PUBLISHED,),
    "broken": (NO_DATA,),
    "stuck": (STUCK, PUBLISHED),
}
RIGGED = (sys.executable, str(Path(__file__).with_name("rigged.py")))
SEED = 20260131
END_SECONDS = 600
SMALL = pytest.param("small", marks=pytest.mark.control_plane)
WHOLE = pytest.param("whole", marks=pytest.mark.chaos)


def story_of(run: str) -> Story:
    return STORIES[run.split("-")[0]]


@pytest.fixture
def namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    name = request.node.name.partition("[")[0].removeprefix("test_")[:40].replace("_", "-")
    name = f"{name.strip('-')}-{time.time_ns() % 10**6}"
    plane.make_namespace(name)
    return name


@pytest.fixture
def runs(plane: ControlPlane, namespace: str) -> Runs:
    return Runs(plane, namespace)


@pytest.fixture
def trainers(plane: ControlPlane, namespace: str) -> Iterator[Trainers]:
    with Trainers(plane, namespace, story_of) as trainers:
        yield trainers
    assert trainers.again == []


@pytest.fixture(scope="module")
def calm(plane: ControlPlane, chart: Chart, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each story comes to when nothing happens, and how often its reconcile waits."""
    plane.make_namespace("calm")
    runs, folder = Runs(plane, "calm"), tmp_path_factory.mktemp("calm")
    rig = rig_of(runs, folder, "kill")
    with (
        Trainers(plane, "calm", story_of) as trainers,
        chart.operator(command=RIGGED, environment=rig) as operator,
    ):
        for name in STORIES:
            runs.create(name)
        runs.wait_end(STORIES, Kubelet([operator]), END_SECONDS)
    assert trainers.again == []
    awaits = (folder / "counts").read_text().split()
    return {name: (runs.end_of(name), awaits.count(name)) for name in STORIES}


def rig_of(runs: Runs, folder: Path, action: str) -> dict[str, str]:
    """Returns the variables of a rigged operator."""
    rig = {"": str(folder), "_ACTION": action, "_NAMESPACE": runs.namespace}
    return {f"ARGUS_RIG{name}": value for name, value in rig.items()}


def assert_ended_as_if_calm(runs: Runs, names: list[str], calm: Any) -> None:
    for name in names:
        assert runs.end_of(name) == calm[name.split("-")[0]][0], name


def assert_no_job_was_made_twice(runs: Runs, names: list[str]) -> None:
    """That each has one is in its end; a client that died in the request has no 201 on record."""
    made = runs.created_jobs()
    assert 0 < len(made) == len(set(made)) <= len(names)


def points(calm: Any, size: str, story: str) -> list[int]:
    """Returns the awaits at which something happens."""
    total = calm[story][1]
    if size == "whole":
        return list(range(1, total + 1))
    return sorted(random.Random(SEED).sample(range(1, total + 1), min(8, total)))


@pytest.mark.parametrize("size", [SMALL, WHOLE])
def test_an_operator_that_is_killed_at_any_await_of_a_reconcile(
    chart, runs, trainers, calm, told, tmp_path, size
):
    names = [f"evicted-{number}" for number in points(calm, size, "evicted")]
    rig = rig_of(runs, tmp_path, "kill")
    with chart.operator(command=RIGGED, environment=rig) as operator:
        kubelet = Kubelet([operator])
        for first in range(0, len(names), 12):
            batch = names[first : first + 12]
            for name in batch:
                runs.create(name)
            runs.wait_end(batch, kubelet, END_SECONDS)
    killed = len(list(tmp_path.glob("*.reached")))
    # A run that others delay may need fewer looks than one that is alone.
    assert kubelet.restarts == killed >= 0.7 * len(names)
    assert_ended_as_if_calm(runs, names, calm)
    assert_no_job_was_made_twice(runs, names)
    told("operator killed at an await", len(names), killed)


@pytest.mark.parametrize("size", [SMALL, WHOLE])
def test_a_run_that_is_deleted_and_made_again_at_any_await_of_a_reconcile(
    chart, runs, trainers, calm, told, tmp_path, size
):
    names = [f"evicted-{number}" for number in points(calm, size, "evicted")]
    rig = rig_of(runs, tmp_path, "wait")
    uids = {}

    class Person(Kubelet):
        """Deletes and makes again where the operator stands still."""

        def look(self) -> None:
            for reached in tmp_path.glob("*.reached"):
                done = reached.with_suffix(".done")
                if not done.exists():
                    runs.delete(reached.stem)
                    uids[reached.stem] = runs.create(reached.stem)["metadata"]["uid"]
                    done.touch()
            super().look()

    with chart.operator(command=RIGGED, environment=rig) as operator:
        person = Person([operator])
        # A few at a time: a run that waits for others is looked at less often.
        for first in range(0, len(names), 12):
            batch = names[first : first + 12]
            for name in batch:
                runs.create(name)
            runs.wait_end(batch, person, END_SECONDS)
            person.look()  # an end that was seen may be that of a run that is made again just now
            runs.wait_end(batch, person, END_SECONDS)
    assert person.restarts == 0
    assert len(uids) >= 0.7 * len(names)
    for name, uid in uids.items():
        assert runs.get(name)["metadata"]["uid"] == uid
        assert {
            job["metadata"]["ownerReferences"][0]["uid"] for job in runs.trainer_jobs(name)
        } == {uid}
    assert_ended_as_if_calm(runs, names, calm)
    told("deleted and made again at an await", len(names), len(uids))


@pytest.mark.parametrize("size", [SMALL, WHOLE])
def test_an_api_server_behind_a_bad_network(chart, plane, runs, trainers, calm, told, size):
    count, seeds = (8, 1) if size == "small" else (24, 3)
    for seed in range(SEED, SEED + seeds):
        names = [f"{list(STORIES)[n % 4]}-{seed}-{n}" for n in range(count)]
        with BadNetwork(plane, seed).running() as network:
            environment = {"ARGUS_RIG_RESYNC": "10"}
            with chart.operator(
                server=network.address, command=RIGGED, environment=environment, is_ready=False
            ) as operator:
                kubelet = Kubelet([operator])
                for place, name in enumerate(names):
                    runs.create(name, validation="Warn" if place % 5 == 0 else "Off")
                runs.wait_end(names, kubelet, END_SECONDS)
        assert_ended_as_if_calm(runs, names, calm)
        told(f"bad network, seed {seed}", count, sum(network.met.values()), **network.met)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("silent", marks=pytest.mark.chaos),
        pytest.param("500", marks=[pytest.mark.chaos, pytest.mark.control_plane]),
    ],
)
def test_watches_that_tell_nothing_more(chart, plane, runs, trainers, calm, told, fault):
    """The connections stand; nothing of this size waits for the next listing."""
    names = []
    with (
        BadNetwork(plane, SEED, share=0.0).running() as network,
        chart.operator(server=network.address) as operator,
    ):
        kubelet = Kubelet([operator])
        for when in ("before", "after"):
            batch = [f"{story}-{when}" for story in STORIES]
            for name in batch:
                runs.create(name)
            runs.wait_end(batch, kubelet, 300)
            network.spoil_watches(fault)
            names += batch
    assert_ended_as_if_calm(runs, names, calm)
    assert_no_job_was_made_twice(runs, names)
    told(f"watches {fault}", len(names), 1, restarts=kubelet.restarts)


def freeze_at(
    write: str, leader: OperatorProcess, network: BadNetwork, runs: Runs, run: str
) -> None:
    """Makes a run, and freezes the leader when it waits for the answer to this write for it."""
    is_frozen = threading.Event()

    def freeze(written: str) -> None:
        if written.startswith(write) and not is_frozen.is_set():
            os.kill(leader.pid, signal.SIGSTOP)
            is_frozen.set()

    network.at_write = freeze
    runs.create(run)
    assert is_frozen.wait(60), network.writes


@pytest.mark.parametrize("size", [SMALL, WHOLE])
def test_a_leader_that_dies_or_freezes_hands_over(plane, chart, runs, trainers, calm, told, size):
    """A frozen one that wakes up writes nothing more.

    It has one run in hand, and waits for an answer. What it was just sending would go out.
    """
    frozen_at = {
        "whole": ["POST /apis/batch/", f"PUT {runs.path}/", "POST /apis/events.k8s.io/"],
        "small": [],
    }[size]
    changes = [None, *(change for write in frozen_at for change in (write, None))]
    names, seconds = [], []
    quiet = {name: BadNetwork(plane, SEED, share=0.0) for name in ("operator-1", "operator-2")}
    with (
        quiet["operator-1"].running() as first,
        quiet["operator-2"].running() as second,
        chart.operator("operator-1", server=first.address) as one,
        chart.operator("operator-2", server=second.address) as two,
    ):
        by_name = {one.name: one, two.name: two}
        kubelet = Kubelet([one, two])
        for number, write in enumerate(changes):
            leader = by_name[holder(plane)]
            network = quiet[leader.name]
            batch = [f"{story}-{number}" for story in STORIES]
            first_run, *others = batch
            if write:
                freeze_at(write, leader, network, runs, first_run)
                began = time.monotonic()
                for name in others:
                    runs.create(name)
            else:
                for name in batch:
                    runs.create(name)
                time.sleep(random.Random(SEED + number).uniform(0, 3))
                began = time.monotonic()
                leader.kill()
            until(lambda: holder(plane) != leader.name, 60, "another to lead")  # noqa: B023
            seconds.append(time.monotonic() - began)
            writes = len(network.writes)
            runs.wait_end(batch, Kubelet([o for o in by_name.values() if o is not leader]), 300)
            if write:
                os.kill(leader.pid, signal.SIGCONT)
                until(lambda: not leader.is_running, 60, "the zombie to leave")  # noqa: B023
            assert network.writes[writes:] == []
            kubelet.look()
            leader.wait_ready()
            names += batch
    assert_ended_as_if_calm(runs, names, calm)
    assert_no_job_was_made_twice(runs, names)
    told("leader changed", len(names), len(changes), takeover_seconds=round(max(seconds), 1))


@pytest.mark.parametrize("size", [SMALL, WHOLE])
def test_an_api_server_and_an_etcd_that_crash(plane, chart, runs, trainers, calm, told, size):
    times, names = 1 if size == "small" else 5, []
    with chart.operator() as operator:
        kubelet = Kubelet([operator])
        for number in range(times):
            for part in ("kube-apiserver", "etcd"):
                batch = [f"{story}-{part}-{number}" for story in STORIES]
                for name in batch:
                    runs.create(name)
                time.sleep(random.Random(SEED + number).uniform(0, 3))
                with plane.crashed(part):
                    kubelet.look()
                runs.wait_end(batch, kubelet, END_SECONDS)
                names += batch
    assert_ended_as_if_calm(runs, names, calm)
    assert_no_job_was_made_twice(runs, names)
    told("API server and etcd crashed", len(names), 2 * times)


@pytest.mark.parametrize("size", [WHOLE])
def test_a_clock_of_the_operator_that_steps_by_an_hour(
    chart, runs, trainers, calm, told, tmp_path, size
):
    library = next(Path("/usr/lib").rglob("libfaketime.so.1"))
    step = tmp_path / "step"
    step.write_text("+0")
    clock = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(step),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    names = []
    with chart.operator(environment=clock) as operator:
        kubelet = Kubelet([operator])
        for number, offset in enumerate(["+1h", "-1h", "+0"]):
            batch = [f"{story}-{number}" for story in STORIES]
            for name in batch:
                runs.create(name)
            time.sleep(1)
            step.write_text(offset)
            runs.wait_end(batch, kubelet, END_SECONDS)
            names += batch
    assert kubelet.restarts == 0
    assert_ended_as_if_calm(runs, names, calm)
    assert_no_job_was_made_twice(runs, names)
    told("clock stepped by an hour", len(names), 3)


def holder(plane: ControlPlane) -> str:
    """Returns the replica that leads; one that gave back its Lease is nobody."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/argus-operator"
    found: str = plane.api().get(path)["spec"].get("holderIdentity") or ""
    return found
