"""A run's story is told once: a dozen lines of log, and a handful of events."""

import pytest

from stage.supervised import Kubelet, Runs
from stage.trainers import EVICTED, PUBLISHED, Trainers

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(300)]

STORY = (EVICTED, EVICTED, PUBLISHED)


def test_a_run_with_two_disruptions_reads_as_a_dozen_lines_and_a_few_events(plane, chart):
    plane.make_namespace("story")
    runs = Runs(plane, "story")
    with Trainers(plane, "story", lambda _: STORY), chart.operator("teller") as operator:
        runs.create("edge", validation="Warn")
        runs.wait_end(["edge"], Kubelet([operator]), 200)
        told = [line for line in operator.log().splitlines() if "story/edge" in line]
    events = plane.api().items("/apis/events.k8s.io/v1/namespaces/story/events")
    own = [e for e in events if e["regarding"]["kind"] == "ArgusTrainingJob"]
    assert 4 <= len(told) <= 14, "\n".join(told)
    assert 4 <= len(own) <= 14
    notes = [(event["reason"], event["note"]) for event in own]
    assert len(notes) == len(set(notes)), "the same news is one event"
    assert sum(event.get("series", {}).get("count", 1) for event in own) <= 14
    assert {"JobCreated", "Published"} <= {event["reason"] for event in own}
