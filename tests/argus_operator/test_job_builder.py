"""The Job that a run gets: what Kubernetes acts on."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from argus_contract import names
from argus_contract.launch import Launch
from argus_contract.spec import ArgusTrainingJobSpec, ResourceRequirements, ResumePolicy
from argus_operator.configuration import Configuration, Defaults, TrainerPods
from argus_operator.job import build_job


@pytest.fixture
def job(scene: Any) -> Any:
    return make(scene)


def make(scene: Any) -> Any:
    (create,) = scene.decide().actions
    return build_job(scene.observed.run, create, scene.configuration)


def make_planning(scene: Any) -> Any:
    """The Job that plans, of a run whose data is to be judged."""
    _, create = scene.decide().actions
    return build_job(scene.observed.run, create, scene.configuration)


def container(job: Any) -> Any:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return only


def test_the_failure_policy_is_the_exit_codes_of_the_contract(job: Any) -> None:
    assert job["spec"]["podFailurePolicy"] == {
        "rules": [
            {
                "action": "Ignore",
                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            },
            {
                "action": "Ignore",
                "onExitCodes": {"containerName": "trainer", "operator": "In", "values": [74, 75]},
            },
            {
                "action": "FailJob",
                "onExitCodes": {
                    "containerName": "trainer",
                    "operator": "In",
                    "values": [64, 65, 70, 78],
                },
            },
        ]
    }


def test_a_pod_is_replaced_only_after_it_failed_and_never_restarted(job: Any) -> None:
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["spec"]["backoffLimit"] == 3
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_the_run_owns_the_job_without_blocking_its_deletion(job: Any) -> None:
    assert job["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "argus.tachyon.dev/v1alpha1",
            "kind": "ArgusTrainingJob",
            "name": "edge",
            "uid": "run-uid",
            "controller": True,
            "blockOwnerDeletion": False,
        }
    ]


def test_only_the_queue_labels_of_the_resource_are_copied(scene: Any) -> None:
    scene.configuration = scene.configuration.model_copy(update={"kueue_enabled": True})
    labels = make(scene.queue("q"))["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "q"
    assert set(labels) == {
        "kueue.x-k8s.io/queue-name",
        names.LABEL_RUN_NAME,
        names.LABEL_RUN_KEY,
        names.LABEL_COMPONENT,
    }


def test_the_trainer_is_told_everything_in_one_document(scene: Any, build: Any) -> None:
    uri = "s3://metrics/$(HOME)/$5"
    data = {
        "uri": uri,
        "window": {"start": "2026-01-01T00:00:00Z"},
        "split": {"validationPercent": 5},
        "cadenceSeconds": 300,
        "columns": [{"name": "load_average", "from": "Load (1m) $", "factor": "0.01"}],
        "servers": {"include": ["web-*"], "exclude": ["*-canary"]},
        "timeZone": "Europe/Berlin",
        "gaps": {"maxGapSteps": 1},
        "onChange": "Repin",
        "validation": {"policy": "Off"},
    }
    training = {"epochs": 7, "memoryBudget": "2Gi", "windowStride": 5, "windowsPerEpoch": 99}
    scene.spec(data=data, training=training, progressDeadlineSeconds=900)
    environment = {entry["name"]: entry for entry in container(make(scene))["env"]}
    told = environment["ARGUS_LAUNCH"]["value"]
    assert "$$(HOME)/$$5" in told, "Kubernetes expands $(HOME) and writes $ for $$"
    launch = Launch.model_validate_json(told.replace("$$", "$"))
    spec = scene.observed.run.spec
    assert launch.data.uri == uri
    assert launch.data.model_dump() == spec.data.model_dump(exclude={"validation"})
    assert launch.training == spec.training
    assert launch.storage.ca_bundle is None
    assert (launch.namespace, launch.name) == build.key
    assert launch.training.epochs == 7
    assert launch.gpus == 1
    assert launch.progress_deadline_seconds == 900
    assert launch.storage.endpoint == "http://s3:9000"
    assert launch.storage.credentials_directory == names.CREDENTIALS_DIRECTORY
    assert launch.checkpoint.uri == "s3://bucket/checkpoints"
    fields = {
        n: e["valueFrom"]["fieldRef"]["fieldPath"]
        for n, e in environment.items()
        if "valueFrom" in e
    }
    assert fields == {"ARGUS_POD_NAME": "metadata.name", "ARGUS_NODE_NAME": "spec.nodeName"}


def told(scene: Any) -> Launch:
    """What the trainer of this scene is told."""
    return Launch.model_validate_json(container(make(scene))["env"][0]["value"])


def test_how_states_are_kept_and_resumed_reaches_the_trainer(scene: Any) -> None:
    checkpoint = told(scene).checkpoint
    assert (checkpoint.keep_last, checkpoint.resume_policy) == (3, ResumePolicy.AUTO)
    scene.spec(checkpoint={"keepLast": 7, "resumePolicy": "Require", "periodSeconds": 10})
    checkpoint = told(scene).checkpoint
    assert (checkpoint.keep_last, checkpoint.period_seconds) == (7, 10)
    assert checkpoint.resume_policy is ResumePolicy.REQUIRE


@pytest.mark.parametrize(
    ("of_run", "of_chart", "alone"),
    [
        (None, None, False),
        (None, True, True),
        (True, None, True),
        (False, True, False),
    ],
)
def test_one_writer_is_promised_by_the_run_or_else_by_the_chart(
    scene: Any, of_run: bool | None, of_chart: bool | None, alone: bool
) -> None:
    storage = scene.configuration.defaults.storage.model_copy(update={"single_writer": of_chart})
    defaults = scene.configuration.defaults.model_copy(update={"storage": storage})
    scene.configuration = scene.configuration.model_copy(update={"defaults": defaults})
    scene.spec(storage={} if of_run is None else {"singleWriter": of_run})
    assert told(scene).storage.single_writer is alone


def test_the_keys_are_mounted_and_must_be_there(job: Any) -> None:
    volumes = {v["name"]: v for v in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["argus-storage"]["secret"]["secretName"] == "keys"
    assert volumes["argus-storage"]["secret"]["optional"] is False
    mounts = {m["name"]: m for m in container(job)["volumeMounts"]}
    assert mounts["argus-storage"]["mountPath"] == names.CREDENTIALS_DIRECTORY
    assert mounts["argus-storage"]["readOnly"] is True


def test_the_certificates_are_the_one_key_of_the_config_map_and_must_be_there(scene: Any) -> None:
    job = make(scene.spec(storage={"caBundleRef": {"name": "store-ca", "key": "bundle.pem"}}))
    volumes = {v["name"]: v for v in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["argus-ca"]["configMap"] == {
        "name": "store-ca",
        "optional": False,
        "defaultMode": 0o444,
        "items": [{"key": "bundle.pem", "path": "ca.crt"}],
    }
    (mount,) = [m for m in container(job)["volumeMounts"] if m["name"] == "argus-ca"]
    assert mount == {"name": "argus-ca", "mountPath": "/var/run/argus/ca", "readOnly": True}
    launch = Launch.model_validate_json(container(job)["env"][0]["value"])
    assert launch.storage.ca_bundle == "/var/run/argus/ca/ca.crt"


def test_workload_identity_needs_no_secret(scene: Any) -> None:
    job = make(scene.spec(storage={"serviceAccountName": "trainer"}))
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "trainer"
    assert [volume["name"] for volume in pod["volumes"]] == ["argus-scratch"]
    launch = Launch.model_validate_json(container(job)["env"][0]["value"])
    assert launch.storage.credentials_directory is None


def test_the_pod_meets_the_restricted_pod_security_standard(job: Any) -> None:
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(job)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_the_chart_adds_is_in_every_pod(scene: Any) -> None:
    trainer = TrainerPods(
        extra_volumes=({"name": "x", "emptyDir": {}},),
        extra_volume_mounts=({"name": "x", "mountPath": "/x"},),
    )
    scene.configuration = scene.configuration.model_copy(update={"trainer": trainer})
    job = make(scene)
    pod = job["spec"]["template"]["spec"]
    assert {"name": "x", "emptyDir": {}} in pod["volumes"]
    assert {"name": "x", "mountPath": "/x"} in container(job)["volumeMounts"]


def pod_of(job: Any) -> Any:
    return job["spec"]["template"]["spec"]


def with_defaults(scene: Any, **fields: Any) -> Any:
    """Changes the chart's defaults (wire names)."""
    known = scene.configuration.defaults.to_wire()
    defaults = Defaults.model_validate({**known, **fields})
    scene.configuration = scene.configuration.model_copy(update={"defaults": defaults})
    return scene


PLACED = {
    "nodeSelector": {"gpu": "yes"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}],
}


def test_a_run_that_says_nothing_runs_where_the_chart_says(scene: Any) -> None:
    pod = pod_of(make(with_defaults(scene, **PLACED)))
    assert {name: pod[name] for name in PLACED} == PLACED


def test_what_a_run_says_of_its_place_goes_before_the_chart(scene: Any) -> None:
    own = {
        "nodeSelector": {"accelerator": "h100"},
        "tolerations": [],
        "affinity": {"nodeAffinity": {"anything": [1, {"kubernetes": "knows"}]}},
        "priorityClassName": "batch-low",
        "runtimeClassName": "nvidia",
    }
    pod = pod_of(make(with_defaults(scene.spec(scheduling=own), **PLACED)))
    assert "tolerations" not in pod, "an empty list means none"
    assert {name: pod[name] for name in own if name != "tolerations"} == {
        name: value for name, value in own.items() if name != "tolerations"
    }


def test_a_pod_says_nothing_of_its_place_where_nobody_asked(job: Any) -> None:
    words = {"nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName"}
    assert not words & set(pod_of(job))
    assert "imagePullSecrets" not in pod_of(job)
    assert "imagePullPolicy" not in container(job)


def test_how_the_image_is_pulled_comes_from_the_run_or_the_chart(make_scene: Any) -> None:
    chart = {"imagePullPolicy": "Always", "imagePullSecrets": [{"name": "all"}]}
    job = make(with_defaults(make_scene(), **chart))
    assert container(job)["imagePullPolicy"] == "Always"
    assert pod_of(job)["imagePullSecrets"] == [{"name": "all"}]
    own = make_scene().spec(imagePullPolicy="Never", imagePullSecrets=[])
    job = make(with_defaults(own, **chart))
    assert container(job)["imagePullPolicy"] == "Never"
    assert "imagePullSecrets" not in pod_of(job)


def test_the_queue_of_the_chart_is_that_of_runs_without_a_label(make_scene: Any) -> None:
    for label, queue in ((None, "all"), ("own", "own")):
        scene = make_scene()
        scene.configuration = scene.configuration.model_copy(update={"kueue_enabled": True})
        if label:
            scene.queue(label)
        job = make(with_defaults(scene, queue="all"))
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == queue
        assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]


def test_a_queue_of_the_chart_without_kueue_is_refused() -> None:
    with pytest.raises(ValidationError, match="set kueue"):
        Configuration.model_validate({"clusterName": "x", "defaults": {"queue": "all"}})


OVERRIDES = {
    "labels": {"team": "edge"},
    "annotations": {"sidecar.istio.io/inject": "false"},
    "env": [
        {"name": "OMP_NUM_THREADS", "value": "4"},
        {"name": "HOME", "value": "/cache"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}},
    ],
    "envFrom": [{"prefix": "APP_", "configMapRef": {"name": "c"}}],
    "volumes": [
        {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}},
        {"name": "fast", "emptyDir": {}},
    ],
    "volumeMounts": [{"name": "cache", "mountPath": "/cache", "subPath": "a", "readOnly": True}],
    "securityContext": {"runAsUser": 1000, "supplementalGroups": [44]},
}


def test_what_a_run_adds_to_its_pod_stands_beside_what_argus_needs(scene: Any) -> None:
    before = make(scene)
    job = make(scene.spec(podOverrides=OVERRIDES))
    metadata = job["spec"]["template"]["metadata"]
    assert metadata["labels"] == {
        **before["spec"]["template"]["metadata"]["labels"],
        "team": "edge",
    }
    assert metadata["annotations"] == OVERRIDES["annotations"]
    assert job["metadata"] == before["metadata"], "the Job itself carries none of it"
    env = container(job)["env"]
    assert [entry["name"] for entry in env].count("HOME") == 1
    for entry in ({"name": "OMP_NUM_THREADS", "value": "4"}, {"name": "HOME", "value": "/cache"}):
        assert entry in env
    (token,) = [entry for entry in env if entry["name"] == "TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "t", "key": "k", "optional": False}
    assert container(job)["envFrom"] == [
        {"prefix": "APP_", "configMapRef": {"name": "c", "optional": False}}
    ]
    assert pod_of(job)["volumes"] == [*pod_of(before)["volumes"], *OVERRIDES["volumes"]]
    assert OVERRIDES["volumeMounts"][0] in container(job)["volumeMounts"]


def test_a_run_may_choose_its_ids_but_not_soften_the_container(scene: Any) -> None:
    before = make(scene)
    job = make(scene.spec(podOverrides=OVERRIDES))
    assert pod_of(job)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "supplementalGroups": [44],
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(job)["securityContext"] == container(before)["securityContext"]


def test_the_last_words_come_from_the_termination_file(job: Any) -> None:
    assert container(job)["terminationMessagePath"] == "/dev/termination-log"
    assert container(job)["terminationMessagePolicy"] == "File"
    assert container(job)["ports"] == [{"name": "progress", "containerPort": 8080}]


def test_the_same_run_gives_the_same_job(scene: Any) -> None:
    assert json.dumps(make(scene)) == json.dumps(make(scene))


@pytest.mark.parametrize(
    ("limits", "gpus"),
    [
        ({}, 0),
        ({"cpu": "4", "memory": "1Gi"}, 0),
        ({"nvidia.com/gpu": "1"}, 1),
        ({"amd.com/gpu": "2"}, 2),
        ({"nvidia.com/mig-1g.10gb": "1"}, 1),
        ({"nvidia.com/gpu.shared": "1"}, 1),
    ],
)
def test_gpus_of_every_vendor_are_counted(limits: dict[str, str], gpus: int) -> None:
    assert ResourceRequirements(limits=limits).num_gpus() == gpus


@pytest.mark.parametrize(
    "resources",
    [
        {"limits": {"nvidia.com/gpu": "2"}},
        {"limits": {"nvidia.com/gpu": 2}},
        {"limits": {"nvidia.com/gpu": "1k"}},
        {"requests": {"amd.com/gpu": "2"}},
        {"limits": {"nvidia.com/gpu.shared": "4"}},
        {"limits": {"nvidia.com/gpu": "1", "nvidia.com/mig-1g.5gb": "1"}},
    ],
)
def test_more_than_one_gpu_is_refused_of_a_run_and_of_the_chart(resources: Any) -> None:
    for model, field in ((ArgusTrainingJobSpec, {"data": DATA}), (Defaults, {})):
        with pytest.raises(ValidationError, match="a run trains on one, ask for 1"):
            model.model_validate(field | {"resourcesPerNode": resources})


DATA = {"uri": "s3://metrics/edge", "validation": {"policy": "Enforce", "minRows": 9}}


def test_planning_asks_for_a_little_cpu_and_for_no_gpu_and_not_for_its_nodes(scene: Any) -> None:
    scheduling = {
        "nodeSelector": {"accelerator": "h100"},
        "affinity": {"nodeAffinity": {}},
        "runtimeClassName": "nvidia",
        "priorityClassName": "low",
        "tolerations": [{"key": "batch", "operator": "Exists"}],
    }
    resources = {"limits": {"nvidia.com/gpu": "1", "memory": "4Gi"}}
    job = make_planning(scene.spec(data=DATA, scheduling=scheduling, resourcesPerNode=resources))
    assert container(job)["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "2Gi"},
    }
    pod = job["spec"]["template"]["spec"]
    assert {"nodeSelector", "affinity", "runtimeClassName"}.isdisjoint(pod)
    assert pod["priorityClassName"] == "low"
    assert pod["tolerations"] == scheduling["tolerations"]


def test_the_chart_says_what_planning_takes_and_where_it_runs(scene: Any) -> None:
    planning = {"resources": {"limits": {"memory": "8Gi"}}, "nodeSelector": {"pool": "cpu"}}
    known = scene.configuration.model_dump(by_alias=True) | {"planning": planning}
    scene.configuration = Configuration.model_validate(known)
    job = make_planning(scene.spec(data=DATA))
    assert container(job)["resources"] == {"limits": {"memory": "8Gi"}, "requests": {}}
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "cpu"}


def test_planning_is_told_to_plan_alone_and_what_the_training_may_take(scene: Any) -> None:
    resources = {"limits": {"nvidia.com/gpu": "1", "memory": "4Gi"}}
    job = make_planning(scene.spec(data=DATA, resourcesPerNode=resources))
    assert container(job)["args"] == ["--plan-only"]
    launch = Launch.model_validate_json(container(job)["env"][0]["value"])
    assert launch.planning is not None
    assert launch.planning.memory_limit_bytes == 4 * 2**30
    assert launch.planning.validation.min_rows == 9
    assert launch.gpus == 1
    create, _ = scene.decide().actions
    training = build_job(scene.observed.run, create.job, scene.configuration)
    assert "args" not in container(training)
    told = Launch.model_validate_json(container(training)["env"][0]["value"])
    assert told == launch.model_copy(update={"planning": None})


def test_planning_is_queued_fails_and_is_labelled_as_a_training_is(scene: Any) -> None:
    scene.spec(data=DATA, podOverrides={"labels": {"team": "edge"}}).queue("gpus")
    known = scene.configuration.model_dump(by_alias=True) | {"kueueEnabled": True}
    scene.configuration = Configuration.model_validate(known)
    job = make_planning(scene)
    create, _ = scene.decide().actions
    training = build_job(scene.observed.run, create.job, scene.configuration)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert job["spec"]["podFailurePolicy"] == training["spec"]["podFailurePolicy"]
    assert job["spec"]["backoffLimit"] == training["spec"]["backoffLimit"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels == training["spec"]["template"]["metadata"]["labels"] | {
        "argus.tachyon.dev/component": "planner"
    }
    assert job["metadata"]["ownerReferences"] == training["metadata"]["ownerReferences"]
