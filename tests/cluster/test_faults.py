"""One fault each on a real cluster: the run ends with the model of a run left alone, or as told.

Five of these are in `make test`; `make faults` runs all of them and prints a table.
"""

from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from cluster.places import PAUSE_IMAGE
from stage.install import helm_install
from stage.kubectl import apply, environment, kubectl
from stage.kueue import QUEUE_LABEL, Kueue
from stage.namespaces import no_pods_allowed, pod_security
from stage.node import (
    GPU,
    NODE,
    SLOT,
    drained,
    exhaust_memory,
    given_up,
    node_is_ready,
    one_slot,
    urgent_pod,
)
from stage.parts import cluster_status, crashed, silent
from stage.results import printed_row, wait_row
from stage.runs import Run, measured_at, saved_step, step
from stage.store import Keys, bucket, full, let_in, tenant
from stage.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]

OUTAGE_SECONDS = 60
SEVERAL_SAVES = timedelta(seconds=10)
NO_QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota for cpu"
TAKEN = "Preempted to accommodate a workload (UID: 4711) due to prioritization in the queue"
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
    assert ended.endings == ["OOMKilled", "Completed"]
    assert ended.disruptions == 0, "a retry was consumed"
    assert ended.status["attempts"][0]["exitCode"] == 137


@pytest.mark.faults
def test_a_node_that_does_not_come_back_is_given_up_and_the_zombie_does_no_harm(alone, trials):
    """Nobody on it hears that the pod must go; its trainer stays until the kubelet is back."""
    beside = alone(**LONG)
    document = trials.document("node-unreachable", training=LONG)
    document["spec"] |= {"nodeUnreachableSeconds": 30, "terminationGracePeriodSeconds": 10}
    run = trials.begin_with(document)
    first = run.running_pod()
    with crashed("kubelet"), given_up(run.namespace, first):
        wait_row(run, 60, PHASE="Preempted", REASON="NodeUnreachable", NODE=NODE)
        assert "node node-1 does not answer" in run.status()["message"]
        row = wait_row(run, 60, PHASE="Preempted", REASON="Unschedulable")
        assert row["MODEL"] == ""
        status = run.status()
        assert status["pending"]["source"] == "Scheduler"
        assert "1 node(s) were unschedulable" in status["pending"]["message"]
        assert status["jobName"].endswith("-2")
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings[-1] == "Completed"
    assert ended.endings[0] in ("Lost", "Superseded", "Preempted")
    assert ended.status["attempts"][-1]["pod"] != first


@pytest.mark.faults
def test_an_image_that_nobody_has_is_named_until_the_deadline_for_the_start(trials):
    document = trials.document("image-absent")
    document["spec"] |= {"image": "localhost/never-built:1", "preRunningDeadlineSeconds": 45}
    run = trials.apply_document(document)
    status = run.wait(lambda s: s.get("pending", {}).get("source") == "Image", 40)
    assert "localhost/never-built:1" in status["pending"]["message"]
    row = printed_row(run)
    assert row["PHASE"] == "Pending"
    assert row["REASON"] in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull")
    ended = trials.end(run)
    assert ended.printed["PHASE"] == "Failed"
    assert ended.printed["REASON"] == "PreRunningDeadlineExceeded"
    assert status["pending"]["message"] in ended.status["message"]
    assert ended.endings == []


def test_a_secret_that_comes_later_is_waited_for_and_named(namespace, alone, trials):
    beside = alone()
    run = trials.apply("secret-later", storage={"secretRef": {"name": "later"}})
    row = wait_row(run, 90, PHASE="Pending", REASON="FailedMount", NODE=NODE)
    assert row["PROGRESS"] == ""
    pending = run.status()["pending"]
    assert pending["source"] == "Pod"
    assert 'secret "later" not found' in pending["message"]
    variables = environment()
    keys = Keys(access=variables["AWS_ACCESS_KEY_ID"], secret=variables["AWS_SECRET_ACCESS_KEY"])
    keys.put_into(namespace, "later")
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]
    assert "pending" not in ended.status


def test_a_quota_without_room_is_waited_for_in_its_own_words(namespace, alone, trials):
    beside = alone()
    with no_pods_allowed(namespace):
        run = trials.apply("quota-refused")
        wait_row(run, 90, PHASE="Pending", REASON="FailedCreate")
        pending = run.status()["pending"]
        assert pending["source"] == "Quota"
        assert "exceeded quota: no-pods, requested: pods=1" in pending["message"]
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]


@pytest.mark.faults
def test_a_pod_that_pod_security_refuses_is_named_with_the_rule(namespace, alone, trials):
    """The pods of this cluster have a hostPath volume, which level baseline forbids."""
    beside = alone()
    with pod_security(namespace, "baseline"):
        run = trials.apply("pod-security-refused")
        wait_row(run, 90, PHASE="Pending", REASON="FailedCreate")
        pending = run.status()["pending"]
        assert pending["source"] == "Pod"
        assert 'violates PodSecurity "baseline:latest": hostPath volumes' in pending["message"]
    ended = trials.end(run, beside=beside)
    assert ended.model == beside.model
    assert ended.endings == ["Completed"]


@pytest.mark.faults
def test_a_gpu_that_is_granted_and_not_visible_is_no_silent_run_on_the_cpu(trials):
    with one_slot(GPU):
        run = trials.apply("gpu-not-visible", resourcesPerNode={"limits": {GPU: "1"}})
        ended = trials.end(run)
    assert (ended.printed["PHASE"], ended.printed["REASON"]) == ("Failed", "ConfigurationError")
    assert "resourcesPerNode asks for 1 GPU and 0 are visible" in ended.status["message"]
    assert [attempt["exitCode"] for attempt in ended.status["attempts"]] == [78]
    assert run.jobs()[0]["status"]["failed"] == 1


@pytest.mark.faults
def test_a_run_that_kueue_stops_for_another_goes_on_when_it_may(namespace, alone, trials):
    """Kueue's writes are played; its Jobs, pods and everything else are real."""
    beside = alone()
    with queues() as kueue:
        document = trials.document("kueue-preempted")
        document["metadata"]["labels"] = {QUEUE_LABEL: "gpus"}
        document["spec"]["data"]["validation"] = {"policy": "Off"}
        run = trials.apply_document(document)
        row = wait_row(run, 60, PHASE="Queued", QUEUE="gpus", NODE="")
        job = run.status()["jobName"]
        kueue.hold(namespace, job, "Pending", NO_QUOTA)
        wait_row(run, 60, PHASE="Queued", REASON="Pending")
        assert run.status()["pending"]["message"] == NO_QUOTA
        kueue.admit(namespace, job)
        run.wait(lambda s: saved_step(s) and run.running_pod(), 120)
        kueue.preempt(namespace, job, TAKEN)
        wait_row(run, 90, PHASE="Preempted", REASON="Pending")
        assert run.status()["pending"]["message"] == TAKEN
        kueue.admit(namespace, job)
        ended = trials.end(run, beside=beside)
    assert row["REASON"] != "", row
    assert ended.model == beside.model
    assert ended.endings == ["Preempted", "Completed"]
    assert "failed" not in run.jobs()[0]["status"], "a preemption by Kueue consumed a retry"


@contextmanager
def queues():
    """Argus is told that Kueue runs here, until the end."""
    with Kueue.installed(kubectl) as kueue:
        helm_install(kueue=True)
        try:
            yield kueue
        finally:
            helm_install()


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
    assert ended.endings == ["StorageUnavailable", "Completed"]
    assert ended.disruptions == 1
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
