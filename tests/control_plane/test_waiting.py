"""A crowd that cannot start says why, and leaves the API server its time."""

import re
import time

import pytest

from stage.control_plane import ControlPlane, end_of_record, requests_of
from stage.operator_process import USER, Chart
from stage.simulated import make_run, runs_path
from stage.waiting import until

pytestmark = pytest.mark.control_plane

CONTINUED = re.compile("[?&]continue=[^&]")
"""A further page of a list."""
NUM_RUNS = 60
WATCHED_SECONDS = 25


def test_a_crowd_behind_a_quota_is_told_why_by_one_list_each_ten_seconds(
    plane: ControlPlane, chart: Chart, namespace: str
) -> None:
    api, runs = plane.api(), runs_path(namespace)
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}}
    api.create(f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    with chart.operator("asker"):
        before, began = end_of_record(plane), time.monotonic()
        for number in range(NUM_RUNS):
            api.create(runs, make_run(f"run-{number}"))

        def num_told() -> int:
            found = [run.get("status", {}) for run in api.items(runs)]
            return sum(
                "exceeded quota: full" in status.get("pending", {}).get("message", "")
                for status in found
            )

        until(lambda: num_told() == NUM_RUNS, 60, "all runs to name the quota")
        time.sleep(WATCHED_SECONDS)
        elapsed = time.monotonic() - began
        assert num_told() == NUM_RUNS
    # Runs of an earlier test may be waiting in a namespace of theirs.
    asked = {"resource": "events", "namespace": namespace}
    lists = [
        entry
        for entry in requests_of(plane, USER, after=before)
        if entry["verb"] == "list"
        and asked.items() <= entry["objectRef"].items()
        and not CONTINUED.search(entry["requestURI"])
    ]
    assert 1 <= len(lists) <= 1 + elapsed / 10
