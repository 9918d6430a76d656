"""Before a trainer runs: acceptance, the one Job, and why a run waits."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from argus_contract.names import KUEUE_QUEUE_LABEL
from argus_contract.spec import CaBundleReference
from argus_contract.status import ConditionType, PendingSource, Phase
from argus_operator.configuration import Configuration, Defaults
from argus_operator.decision import CreateJob, DeleteJob
from argus_operator.observed import Refusal
from argus_operator.reading import read_workload
from argus_operator.views import Hindrance, JobEnd


def test_a_new_run_gets_one_job_of_the_first_generation(scene: Any, build: Any) -> None:
    decision = scene.decide()
    (create,) = decision.actions
    assert isinstance(create, CreateJob)
    assert create.name == f"edge-{build.run_key[:8]}-1"
    assert create.resolved.image == "registry/trainer:1"


def test_a_run_that_has_its_job_gets_no_other(scene: Any) -> None:
    assert scene.job().decide().actions == ()


def test_a_job_made_before_a_crash_is_found_and_not_made_again(scene: Any) -> None:
    # The status write was lost: nothing in the status speaks of the Job.
    decision = scene.job(generation=3).decide()
    assert decision.actions == ()
    assert decision.status.job_name is not None
    assert decision.status.job_name.endswith("-3")


def test_a_job_that_vanished_is_replaced_by_the_next_generation(scene: Any) -> None:
    scene.job().running().store()
    decision = scene.no_job().pod(gone=True).decide()
    assert [action.name[-2:] for action in decision.actions] == ["-2"]
    assert decision.status.phase is Phase.PREEMPTED


def test_the_next_job_waits_until_the_pods_of_the_vanished_one_are_gone(scene: Any) -> None:
    scene.job().running().store()
    assert scene.no_job().running(deleting=True).decide().actions == ()


def test_a_pod_that_an_earlier_resource_left_behind_is_waited_for_by_name(
    scene: Any, build: Any
) -> None:
    born = build.start - timedelta(hours=1)
    decision = scene.running(created=born, owner_uid="orphan").decide()
    assert decision.actions == ()
    assert decision.status.reason == "WaitingForPredecessor"
    assert scene.observed.pods[0].name in decision.status.message
    assert str(scene.observed.pods[0].job) in decision.status.message


@pytest.mark.parametrize(
    ("default", "reason", "field"),
    [
        ("image", "NoImage", "spec.image"),
        ("checkpoint_uri", "NoCheckpointUri", "spec.checkpoint.uri"),
        ("output_uri", "NoOutputUri", "spec.output.uri"),
    ],
)
def test_a_default_that_nobody_set_is_named_with_the_way_out(
    scene: Any, conditions: Any, default: str, reason: str, field: str
) -> None:
    known: Configuration = scene.configuration
    defaults = Defaults.model_validate(known.defaults.model_dump() | {default: None})
    scene.configuration = known.model_copy(update={"defaults": defaults})
    decision = scene.decide()
    assert decision.actions == ()
    assert (decision.status.phase, decision.status.reason) == (Phase.PENDING, reason)
    assert field in (decision.status.message or "")
    assert conditions(decision)[ConditionType.ACCEPTED] == "False"
    assert conditions(decision)[ConditionType.STALLED] == "True"


def test_a_run_starts_once_the_missing_default_is_there(make_scene: Any) -> None:
    scene = make_scene(configuration=Configuration(cluster_name="test", trainer={}))
    scene.store()
    scene.configuration = make_scene().configuration
    assert len(scene.decide().actions) == 1


def test_what_a_run_says_itself_goes_before_the_defaults(scene: Any) -> None:
    scene.spec(
        image="own:2",
        checkpoint={"uri": "s3://own/checkpoints"},
        storage={"serviceAccountName": "me", "region": "eu-central-1"},
    )
    (create,) = scene.decide().actions
    assert create.resolved.image == "own:2"
    assert create.resolved.checkpoint_uri == "s3://own/checkpoints"
    assert create.resolved.output_uri == "s3://bucket/models"
    storage = create.resolved.storage
    assert (storage.service_account_name, storage.secret_ref) == ("me", None)
    assert (storage.endpoint, storage.region) == ("http://s3:9000", "eu-central-1")


def test_the_certificates_come_from_the_chart_unless_the_run_names_its_own(scene: Any) -> None:
    known: Configuration = scene.configuration
    storage = known.defaults.storage.model_dump() | {"ca_bundle_ref": {"name": "all"}}
    defaults = Defaults.model_validate(known.defaults.model_dump() | {"storage": storage})
    scene.configuration = known.model_copy(update={"defaults": defaults})
    (create,) = scene.decide().actions
    assert create.resolved.storage.ca_bundle_ref == CaBundleReference(name="all", key="ca.crt")
    scene.spec(storage={"caBundleRef": {"name": "own", "key": "x"}})
    (create,) = scene.decide().actions
    assert create.resolved.storage.ca_bundle_ref == CaBundleReference(name="own", key="x")
    assert create.resolved.storage.secret_ref is not None


def test_what_was_resolved_stays_for_the_whole_run(scene: Any) -> None:
    scene.job().store()
    changed = scene.configuration.defaults.model_copy(update={"image": "registry/trainer:2"})
    scene.configuration = scene.configuration.model_copy(update={"defaults": changed})
    assert scene.decide().status.resolved.image == "registry/trainer:1"


def test_a_spec_that_is_wrong_fails_for_good(scene: Any, conditions: Any) -> None:
    scene.run(spec=None, spec_errors=("spec.training.epochs: must be above 0",))
    decision = scene.store()
    assert (decision.status.phase, decision.status.reason) == (Phase.FAILED, "InvalidSpec")
    assert "spec.training.epochs" in decision.status.message
    assert conditions(decision)[ConditionType.ACCEPTED] == "False"
    assert conditions(decision)[ConditionType.FAILED] == "True"
    assert scene.decide().actions == ()


def test_a_spec_that_a_newer_operator_cannot_read_does_not_end_a_run_that_has_its_job(
    scene: Any,
) -> None:
    scene.job().running().store()
    scene.run(spec=None, spec_errors=("spec.new: unknown",))
    assert scene.decide().status.phase is not Phase.FAILED


def test_a_queue_without_kueue_is_not_accepted(scene: Any) -> None:
    decision = scene.queue("team-queue").decide()
    assert decision.actions == ()
    assert decision.status.reason == "KueueNotEnabled"
    assert "kueue.enabled" in decision.status.message


@pytest.mark.parametrize("suspended", [True, False])
@pytest.mark.parametrize("changed", ["queue", "image", "cluster", "spec"])
def test_a_run_that_has_its_job_is_accepted_whatever_changed_before_its_first_status(
    scene: Any, build: Any, conditions: Any, changed: str, suspended: bool
) -> None:
    """Else nobody stops that Job, or sees its end."""
    scene.spec(suspend=suspended).job().running()
    before = scene.configuration
    defaults = before.defaults.model_copy(update={"image": ""})
    if changed == "queue":
        scene.run(labels={KUEUE_QUEUE_LABEL: "team"})
    elif changed == "spec":
        scene.run(spec=None, spec_errors=("spec.new: unknown",))
    elif changed == "image":
        scene.configuration = before.model_copy(update={"defaults": defaults})
    else:
        scene.configuration = before.model_copy(update={"cluster_name": "renamed"})
    job, unread = scene.observed.jobs[0], changed == "spec"
    decision = scene.store()
    assert decision.status.run_key == job.run_key
    assert decision.status.resolved is None or decision.status.resolved.queue is None
    asked = (DeleteJob(job=job),) if suspended and not unread else ()
    assert decision.actions == asked
    assert conditions(decision)[ConditionType.ACCEPTED] == "True"
    scene.job_ended(JobEnd.COMPLETE).ended(code=0, report=build.report())
    assert scene.decide().status.phase is Phase.SUCCEEDED


def test_a_queued_run_says_so_until_its_job_is_admitted(scene: Any) -> None:
    scene.configuration = scene.configuration.model_copy(update={"kueue_enabled": True})
    scene.queue("team-queue")
    assert len(scene.decide().actions) == 1
    queued = scene.job(suspended=True).decide().status
    assert queued.phase is Phase.QUEUED
    assert queued.pending.source is PendingSource.KUEUE
    assert "team-queue" in queued.pending.message
    admitted = scene.job(suspended=False).decide().status
    assert (admitted.phase, admitted.pending) == (Phase.PENDING, None)


def test_what_kueue_says_goes_before_what_the_job_says(scene: Any, conditions: Any) -> None:
    scene.configuration = scene.configuration.model_copy(update={"kueue_enabled": True})
    scene.queue("team-queue").job(suspended=True, suspended_message="Job suspended")
    assert scene.decide().status.pending.message == "Job suspended"
    said = Hindrance(reason="Pending", message="insufficient unused quota for cpu, 1 more needed")
    scene.observed = replace(scene.observed, queued=said)
    decision = scene.decide()
    assert (decision.status.reason, decision.status.pending.message) == ("Pending", said.message)
    assert conditions(decision)[ConditionType.ADMITTED] == "False"
    admitted = scene.job(suspended=False).decide()
    assert conditions(admitted)[ConditionType.ADMITTED] == "True"
    assert ConditionType.ADMITTED not in conditions(scene.no_job().decide())


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, None),
        ({"QuotaReserved": ("False", "no quota")}, "no quota"),
        ({"QuotaReserved": ("True", "reserved"), "Admitted": ("False", "check x")}, "check x"),
        ({"QuotaReserved": ("True", "reserved"), "Admitted": ("True", "go")}, None),
        ({"Admitted": ("False", "no reservation"), "QuotaReserved": ("False", "none")}, "none"),
    ],
)
def test_of_a_workload_the_first_thing_that_it_lacks_is_told(said: Any, message: Any) -> None:
    conditions = [
        {"type": kind, "status": status, "reason": "R", "message": text}
        for kind, (status, text) in said.items()
    ]
    found = read_workload({"status": {"conditions": conditions}})
    assert (found.message if found else None) == message
    assert read_workload({}) is None


def test_with_many_runs_in_queues_kueue_is_asked_less_often(scene: Any) -> None:
    scene.configuration = scene.configuration.model_copy(update={"kueue_enabled": True})
    scene.queue("q").job(suspended=True)
    assert scene.decide().wake_at - scene.now == timedelta(seconds=10)
    scene.observed = replace(scene.observed, num_active=1000)
    assert scene.decide().wake_at - scene.now == timedelta(seconds=100)


def test_with_many_runs_those_that_wait_are_looked_at_less_often(scene: Any) -> None:
    scene.job().pod(**wait_for("ContainerCreating"))
    assert scene.decide().wake_at - scene.observed.now == timedelta(seconds=10)
    scene.observed = replace(scene.observed, num_active=1000)
    assert scene.decide().wake_at - scene.observed.now == timedelta(seconds=20)


def wait_for(reason: str, message: str = "the original text") -> dict[str, Any]:
    return {"waiting": Hindrance(reason=reason, message=message)}


@pytest.mark.parametrize(
    ("pod", "warning", "source", "reason"),
    [
        (wait_for("ErrImagePull"), None, PendingSource.IMAGE, "ErrImagePull"),
        (wait_for("ImagePullBackOff"), None, PendingSource.IMAGE, "ImagePullBackOff"),
        (
            wait_for("CreateContainerConfigError"),
            None,
            PendingSource.POD,
            "CreateContainerConfigError",
        ),
        (wait_for("ContainerCreating", ""), "FailedMount", PendingSource.POD, "FailedMount"),
        (
            {
                "unschedulable": Hindrance(reason="Unschedulable", message="the original text"),
                "node": None,
            },
            None,
            PendingSource.SCHEDULER,
            "Unschedulable",
        ),
    ],
)
def test_why_a_pod_waits_stands_on_the_resource_in_the_original_words(
    scene: Any, pod: dict[str, Any], warning: str | None, source: PendingSource, reason: str
) -> None:
    scene.job().pod(**pod)
    if warning:
        scene.warning(warning, "the original text")
    decision = scene.decide()
    assert decision.status.pending.source is source
    assert decision.status.pending.message == "the original text"
    assert (decision.status.reason, decision.status.message) == (reason, "the original text")
    assert decision.status.phase in (Phase.PENDING, Phase.STARTING)
    assert decision.wake_at - scene.observed.now <= timedelta(seconds=60)
    assert [news.reason for news in decision.news if news.warning] == [reason]


def test_of_an_image_that_cannot_be_pulled_the_newest_error_is_told(scene: Any) -> None:
    scene.job().pod(**wait_for("ErrImagePull", "i/o timeout")).store()
    scene.pod(**wait_for("ImagePullBackOff", "Back-off pulling image")).at(500).store()
    scene.pod(**wait_for("ErrImagePull", "not found")).at(600)
    assert scene.store().status.pending.message == "not found"
    scene.pod(**wait_for("ImagePullBackOff", "Back-off pulling image")).at(700)
    status = scene.store().status
    assert (status.reason, status.pending.message) == ("ErrImagePull", "not found")
    assert (scene.observed.now - status.pending.since).total_seconds() == 600


def test_an_image_that_cannot_be_pulled_keeps_its_first_text_and_time(scene: Any) -> None:
    scene.job().pod(**wait_for("ErrImagePull", "no such host")).store()
    scene.at(500).pod(**wait_for("ImagePullBackOff", "Back-off pulling image"))
    decision = scene.decide()
    assert decision.status.pending.message == "no such host"
    assert decision.status.reason == "ErrImagePull"
    assert (scene.observed.now - decision.status.pending.since).total_seconds() == 400
    assert decision.news == ()


@pytest.mark.parametrize(
    ("message", "source"),
    [
        ("pods is forbidden: exceeded quota: team", PendingSource.QUOTA),
        ("failed quota: team: must specify limits.cpu", PendingSource.QUOTA),
        ("violates PodSecurity restricted", PendingSource.POD),
        ('pods "quota-study-1" is forbidden: violates PodSecurity', PendingSource.POD),
    ],
)
def test_pods_that_the_api_server_refuses_are_explained(
    scene: Any, message: str, source: PendingSource
) -> None:
    status = scene.job().warning("FailedCreate", message).decide().status
    assert (status.pending.source, status.pending.message) == (source, message)
    assert status.phase is Phase.PENDING


def test_a_job_that_the_api_server_refuses_is_told_and_tried_again(scene: Any) -> None:
    hindrance = Hindrance(reason="JobRefused", message="exceeded quota: jobs")
    refusal = Refusal(hindrance=hindrance)
    object.__setattr__(scene.observed, "refusal", refusal)
    decision = scene.decide()
    assert decision.actions == ()
    assert decision.status.pending.source is PendingSource.QUOTA
    assert decision.status.job_name is None
    assert decision.wake_at is not None


def test_a_job_that_is_wrong_in_itself_is_not_accepted_in_the_servers_words(
    scene: Any, conditions: Any
) -> None:
    text = 'Job.batch "x" is invalid: spec.template.spec.affinity: Required value'
    hindrance = Hindrance(reason="JobRefused", message=text)
    refusal = Refusal(hindrance=hindrance, invalid=True)
    object.__setattr__(scene.observed, "refusal", refusal)
    decision = scene.decide()
    assert conditions(decision)[ConditionType.ACCEPTED] == "False"
    assert conditions(decision)[ConditionType.STALLED] == "True"
    assert (decision.status.phase, decision.status.reason) == (Phase.PENDING, "JobInvalid")
    assert text in decision.status.message
    assert "while spec.suspend is true" in decision.status.message, "and the way out"
    assert decision.wake_at - scene.observed.now == timedelta(minutes=5)
    assert [news.reason for news in decision.news] == ["JobInvalid"]


def test_a_dying_predecessor_is_waited_for(scene: Any) -> None:
    hindrance = Hindrance(reason="WaitingForPredecessor", message="is being deleted")
    refusal = Refusal(hindrance=hindrance, predecessor=True)
    object.__setattr__(scene.observed, "refusal", refusal)
    decision = scene.decide()
    assert decision.status.phase is Phase.PENDING
    assert decision.wake_at - scene.observed.now < timedelta(seconds=10)


def test_an_image_name_that_can_never_work_ends_the_run_and_then_its_job(scene: Any) -> None:
    scene.job().pod(**wait_for("InvalidImageName", "cannot parse"))
    decision = scene.store()
    assert (decision.status.phase, decision.status.reason) == (Phase.FAILED, "InvalidImageName")
    assert decision.actions == (), "the status comes first"
    (delete,) = scene.decide().actions
    assert isinstance(delete, DeleteJob)
    assert delete.job.uid == "job-1"


def test_nothing_is_done_to_a_resource_that_is_being_deleted(scene: Any) -> None:
    decision = scene.run(deleting=True).decide()
    assert decision.actions == ()
    assert decision.status == scene.observed.run.status


def test_a_finished_job_is_never_deleted_with_its_logs(scene: Any, build: Any) -> None:
    scene.job().ended().job_ended(JobEnd.COMPLETE).store()
    assert scene.decide().actions == ()


def test_reconciling_lasts_until_the_job_stands(scene: Any, conditions: Any) -> None:
    before, after = scene.decide(), scene.job().decide()
    assert conditions(before)[ConditionType.RECONCILING] == "True"
    assert ConditionType.RECONCILING not in conditions(after)
    assert ConditionType.STALLED not in conditions(after)
