"""Promises of the development cluster: whom it may kill, and that nothing of it stays."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import processes
from cluster.failures import ClusterError, MissingPrerequisite, PartFailed
from cluster.places import Places
from cluster.trouble import send_signal
from stage.parts import cluster, cluster_status

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    # A part outlives its starter by design, which the standard library warns of.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def started(tmp_path: Path, *argv: str) -> processes.Process:
    record = tmp_path / "part.json"
    processes.start(argv, log=tmp_path / "part.log", environment={}, record=record)
    process = processes.recorded(record)
    assert process is not None
    return process


def test_a_part_is_found_again_by_its_record_and_ends_when_killed(tmp_path: Path) -> None:
    process = started(tmp_path, "/bin/sleep", "60")
    assert process.is_alive()
    processes.kill([process.pid])
    assert not process.is_alive()


def test_a_reused_process_id_is_not_taken_for_the_part(tmp_path: Path) -> None:
    process = started(tmp_path, "/bin/sleep", "60")
    assert not replace(process, start_ticks=process.start_ticks - 1).is_alive()
    assert not replace(process, boot="an earlier boot").is_alive()
    processes.kill([process.pid])


def test_descendants_are_found_below_the_processes_asked_for(tmp_path: Path) -> None:
    process = started(tmp_path, "/bin/sh", "-c", "/bin/sleep 61; true", "a-mark-of-this-test")
    below: list[int] = []
    while process.is_alive() and not below:
        roots, below = processes.tree_below(lambda argv: "a-mark-of-this-test" in argv)
        assert roots == [process.pid]
    processes.kill([*below, process.pid])
    assert len(below) == 1


def test_a_failed_part_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "etcd.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    message = str(PartFailed("etcd", "ended by itself", log))
    assert message.startswith("etcd ended by itself")
    assert message.endswith("line 99")
    assert "line 1\n" not in message


@pytest.mark.parametrize("state", ["/", "here", f"/{'long' * 20}"])
def test_a_state_folder_that_cannot_work_is_refused(state: str) -> None:
    with pytest.raises(MissingPrerequisite):
        Places.from_environment({"ARGUS_DEV_STATE": state})


def test_a_signal_reaches_the_part_that_is_named_and_a_killed_one_is_gone(tmp_path: Path) -> None:
    places = Places(cache=tmp_path / "cache", state=tmp_path)
    places.records.mkdir()
    record = places.records / "sleeper.json"
    processes.start(("/bin/sleep", "60"), log=tmp_path / "log", environment={}, record=record)
    process = processes.recorded(record)
    assert process is not None
    send_signal(places, "sleeper", "STOP")
    assert process.is_alive()
    send_signal(places, "sleeper", "KILL")
    assert not process.is_alive()
    for part in ("sleeper", "nobody"):
        with pytest.raises(ClusterError, match=f"no part named '{part}' runs"):
            send_signal(places, part, "KILL")


@pytest.mark.cluster
def test_a_second_up_changes_nothing(installed: None) -> None:
    before = cluster_status()
    cluster("up")
    assert cluster_status() == before
    assert before[0]
