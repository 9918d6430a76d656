"""One fault each while a run trains on a real cluster: it ends with the model of a run left alone.

Three of these are in `make test`; `make faults` runs all of them and prints a table.
"""

from datetime import timedelta
from pathlib import Path

import pytest

from cluster.places import PAUSE_IMAGE
from stage.kubectl import apply, environment
from stage.node import SLOT, drained, exhaust_memory, node_is_ready, one_slot, urgent_pod
from stage.parts import cluster_status, crashed, silent
from stage.runs import Run, measured_at, saved_step, step
from stage.store import Keys, bucket, full, let_in, tenant
from stage.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]

OUTAGE_SECONDS = 60
SEVERAL_SAVES = timedelta(seconds=10)
LONG = {"epochs": 24}
"""Trains for longer than an outage lasts."""


@pytest.mark.faults
def test_two_runs_left_alone_have_the_same_model(alone, trials):
    beside = alone()
    ended = trials.end(trials.begin("left-alone"), beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]


@pytest.mark.faults
def test_an_eviction_loses_nothing(alone, trials):
    beside = alone()
    run = trials.begin("evicted")
    run.evict(run.running_pod())
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Preempted", "Completed"]
    assert ended.disruptions == 1


@pytest.mark.faults
def test_a_drain_of_the_node_loses_nothing_although_the_operator_leaves_as_well(alone, trials):
    beside = alone()
    run = trials.begin("drained")
    first = run.running_pod()
    with drained():
        until(lambda: not run.running_pod(), 60, "the node to be empty")
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Preempted", "Completed"]
    assert ended.status["attempts"][1]["pod"] != first
    assert ended.disruptions == 1


def test_a_pod_of_higher_priority_takes_the_place_and_the_run_goes_on_after_it(
    namespace, alone, trials
):
    beside = alone()
    with one_slot():
        resources = {"requests": {"cpu": "500m"}, "limits": {"memory": "4Gi", SLOT: "1"}}
        run = trials.begin("preempted", resourcesPerNode=resources)
        with urgent_pod(namespace, PAUSE_IMAGE):
            status = run.wait(lambda s: s["phase"] == "Preempted" and s.get("pending"), 90)
            assert status["pending"]["source"] == "Scheduler"
            assert SLOT in status["message"]
        ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Preempted", "Completed"]
    assert ended.disruptions == 1
    assert "failed" not in run.jobs()[0]["status"], "a preemption consumed a retry"


def test_a_trainer_killed_for_its_memory_costs_one_retry_and_no_step(alone, trials):
    beside = alone()
    resources = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    run = trials.begin("out-of-memory", resourcesPerNode=resources)
    exhaust_memory(run.trainer(run.running_pod()))
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    (container,) = run.pods()[0]["status"]["containerStatuses"]
    terminated = container["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)
    assert run.jobs()[0]["status"]["failed"] == 1
    assert ended.endings[-1] == "Completed"
    assert ended.status["attempts"][0]["exitCode"] == 137


@pytest.mark.faults
@pytest.mark.parametrize("part", ["kubelet", "containerd"])
def test_a_node_without_its_agents_trains_on(alone, trials, part):
    beside = alone(**LONG)
    run = trials.begin(f"{part}-killed", training=LONG)
    with crashed(part):
        is_well, lines = cluster_status()
        assert not is_well
        assert [line.split()[2] for line in lines.splitlines() if line.startswith(part)] == ["down"]
        until(lambda: not node_is_ready(), 90, "the node to be given up")
        before = run.status()
        run.wait(lambda s: step(s) > step(before), 60)
    ended = trials.end(run, beside=beside)
    assert cluster_status()[0]
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]
    assert len(run.pods()) == 1


@pytest.mark.faults
def test_a_store_that_is_away_when_a_save_is_due_stops_no_step(alone, trials):
    beside = alone(**LONG)
    run = trials.begin("store-away-at-a-save", training=LONG)
    with crashed("weed", OUTAGE_SECONDS):
        check_that_it_trains_on_and_saves_nothing(run)
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]


def check_that_it_trains_on_and_saves_nothing(run: Run) -> None:
    """Looks twice, with time for several saves between."""
    begin = run.status()
    first = run.wait(lambda s: step(s) > step(begin), 60)
    second = run.wait(lambda s: measured_at(s) - measured_at(first) > SEVERAL_SAVES, 60)
    assert step(second) > step(first)
    assert saved_step(second) == saved_step(first)


@pytest.mark.faults
def test_a_store_that_falls_silent_when_data_are_read_is_waited_for(alone, trials):
    beside = alone()
    # Room for no block beyond those that are needed: each epoch reads all of them again.
    run = trials.begin("store-silent-at-a-read", training={"memoryBudget": "2Mi"})
    with silent("weed", OUTAGE_SECONDS):
        stood = run.wait_standstill(30, 300)
        assert (stood["phase"], stood["reason"]) == ("Running", "Training")
        assert step(stood) < stood["progress"]["maxSteps"]
    run.wait(lambda s: step(s) > step(stood), 240)
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]


@pytest.mark.faults
def test_a_store_that_stays_away_too_long_costs_the_node_and_nothing_else(alone, trials):
    beside = alone()
    run = trials.begin("store-away-too-long", storage={"outageToleranceSeconds": 5})
    first = run.running_pod()
    with crashed("weed"):
        run.wait(lambda s: s["attempts"][0].get("exitCode"), 120)
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.status["attempts"][0]["pod"] == first
    assert ended.status["attempts"][0]["exitCode"] == 74
    assert ended.endings[-1] == "Completed"
    assert "failed" not in run.jobs()[0]["status"], "an outage consumed a retry"


@pytest.mark.faults
def test_a_bucket_without_room_is_waited_for(alone, trials):
    beside = alone(**LONG)
    with bucket("argus-full") as uri:
        checkpoint = {"uri": f"{uri}/checkpoints"}
        run = trials.begin("bucket-full", training=LONG, checkpoint=checkpoint)
        with full("argus-full"):
            check_that_it_trains_on_and_saves_nothing(run)
        ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]


@pytest.mark.faults
def test_keys_that_are_rotated_in_the_secret_reach_the_running_pod(namespace, alone, trials):
    beside = alone()
    old, new = Keys(), Keys()
    with tenant(old):
        old.put_into(namespace, "rotated")
        run = trials.begin("keys-rotated", storage={"secretRef": {"name": "rotated"}})
        let_in(new)
        assert old.are_refused()
        new.put_into(namespace, "rotated")
        assert run.status()["reason"] == "Training", "the run was over before its keys changed"
        ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]
    assert len(run.pods()) == 1


def test_a_private_authority_is_trusted_when_it_is_named_and_only_then(namespace, alone, trials):
    beside = alone()
    variables = environment()
    authority = Path(variables["ARGUS_S3_CA_FILE"]).read_text()
    metadata = {"name": "authority", "namespace": namespace}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    apply({**config_map, "data": {"ca.crt": authority}})
    storage = {"endpoint": variables["ARGUS_S3_TLS_ENDPOINT"]}
    trusting = trials.apply("tls", storage=storage | {"caBundleRef": {"name": "authority"}})
    wary = trials.end(trials.apply("tls-without-ca", storage=storage))
    assert (wary.printed["PHASE"], wary.printed["REASON"]) == ("Failed", "ConfigurationError")
    assert "storage.caBundleRef" in wary.status["message"]
    ended = trials.end(trusting, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]
