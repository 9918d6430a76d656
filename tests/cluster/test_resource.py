"""What the API server itself says to a person who writes an ArgusTrainingJob."""

import copy
import json
from typing import Any

import pytest

from stage.kubectl import CommandFailed, kubectl

pytestmark = pytest.mark.cluster

MAY = "2026-05-01T00:00:00Z"
VALID: dict[str, Any] = {
    "apiVersion": "argus.tachyon.dev/v1alpha1",
    "kind": "ArgusTrainingJob",
    "metadata": {"name": "checked"},
    "spec": {"data": {"uri": "s3://argus/datasets/x"}},
}


def with_spec(**fields: Any) -> dict[str, Any]:
    document = copy.deepcopy(VALID)
    document["spec"].update(fields)
    return document


def dry_run(namespace: str, document: dict[str, Any]) -> dict[str, Any]:
    """Returns the resource as the server would store it."""
    text = json.dumps(document)
    answer = kubectl(
        "create", "--dry-run=server", "-n", namespace, "-o", "json", "-f", "-", stdin=text
    )
    stored: dict[str, Any] = json.loads(answer)
    return stored


def test_ten_lines_are_enough_and_the_server_fills_the_defaults_of_the_guide(
    namespace: str,
) -> None:
    spec = dry_run(namespace, VALID)["spec"]
    assert spec["training"] == {
        "mode": "Streaming",
        "windowStride": 1,
        "deterministic": False,
        "epochs": 20,
        "batchSize": 128,
        "learningRate": "0.01",
        "seed": 42,
    }
    assert spec["data"] == {
        "uri": "s3://argus/datasets/x",
        "window": {},
        "split": {"validationPercent": 20, "holdoutPercent": 10},
        "cadenceSeconds": 0,
        "columns": [],
        "servers": {"include": [], "exclude": []},
        "timeZone": "UTC",
        "gaps": {"maxGapSteps": 3, "minObservedPercent": 80},
        "onChange": "Fail",
        "validation": {"policy": "Warn"},
    }
    assert spec["model"]["encoderLength"] == 288
    assert spec["model"]["predictionLength"] == 96
    assert [target["name"] for target in spec["model"]["targets"]] == [
        "cpu_user_pct",
        "cpu_iowait_pct",
        "mem_used_pct",
        "swap_used_pct",
        "load_average",
    ]


def with_data(**fields: Any) -> dict[str, Any]:
    return {"data": {"uri": "s3://argus/datasets/x", **fields}}


def test_every_way_to_read_data_is_taken_as_it_was_written(namespace: str) -> None:
    data = {
        "uri": "gs://metrics/edge",
        "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T01:00:00+01:00"},
        "split": {"validationPercent": 10, "holdoutPercent": 0},
        "cadenceSeconds": 300,
        "columns": [
            {"name": "mem_used_pct", "from": "ratio", "factor": "100", "aggregate": "Max"},
            {"name": "ratio", "from": "mem_used_pct", "factor": "0.01", "aggregate": "Mean"},
            {"name": "timestamp", "from": "when", "factor": "1", "aggregate": "Mean"},
        ],
        "servers": {"include": ["web-*"], "exclude": ["*-canary"]},
        "timeZone": "America/Argentina/Buenos_Aires",
        "gaps": {"maxGapSteps": 0, "minObservedPercent": 100},
        "onChange": "Repin",
        "validation": {
            "policy": "Enforce",
            "minRows": 1,
            "minServers": 1,
            "minCoveragePercent": 100,
            "maxMissingPercent": 0,
            "maxStalenessSeconds": 3600,
        },
    }
    training = {
        "mode": "Streaming",
        "memoryBudget": "1.5Gi",
        "windowStride": 3,
        "windowsPerEpoch": 1000,
        "deterministic": True,
    }
    spec = dry_run(namespace, with_spec(data=data, training=training))["spec"]
    assert spec["data"] == data
    assert {name: spec["training"][name] for name in training} == training


@pytest.mark.parametrize(
    "fields",
    [
        {"data": {"uri": "s3://argus/x", "window": {"lookbackSeconds": 9, "endOffsetSeconds": 0}}},
        {"data": {"uri": "s3://argus/x", "window": {"start": "2026-01-01T00:00:00Z"}}},
        {"data": {"uri": "s3://argus/x", "split": {"validationPercent": 80}}},
        {"training": {"memoryBudget": 1073741824}},
        {"training": {"mode": "Standard"}},
        {"storage": {"caBundleRef": {"name": "ca"}}},
    ],
)
def test_a_part_of_a_group_of_fields_is_enough(namespace: str, fields: dict[str, Any]) -> None:
    stored = dry_run(namespace, with_spec(**fields))["spec"]
    for group, part in fields.items():
        for name, value in part.items():
            found = stored[group][name]
            assert found == value if not isinstance(value, dict) else value.items() <= found.items()


PLACED: dict[str, Any] = {
    "imagePullPolicy": "IfNotPresent",
    "imagePullSecrets": [{"name": "registry"}],
    "scheduling": {
        "nodeSelector": {"accelerator": "h100"},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists"},
            {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
            {"key": "team", "value": "edge", "effect": "NoSchedule"},
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                    ]
                }
            }
        },
        "priorityClassName": "batch-low",
        "runtimeClassName": "nvidia",
    },
    "podOverrides": {
        "labels": {"team": "edge", "app.kubernetes.io/part-of": "forecasts"},
        "annotations": {"sidecar.istio.io/inject": "false"},
        "env": [
            {"name": "OMP_NUM_THREADS", "value": "4"},
            {
                "name": "TOKEN",
                "valueFrom": {"secretKeyRef": {"name": "t", "key": "k", "optional": True}},
            },
            {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        ],
        "envFrom": [{"prefix": "APP_", "configMapRef": {"name": "c", "optional": False}}],
        "volumes": [
            {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}},
            {"name": "words", "configMap": {"name": "words", "items": [{"key": "a", "path": "b"}]}},
            {"name": "token", "secret": {"secretName": "t"}},
            {"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        ],
        "volumeMounts": [
            {"name": "cache", "mountPath": "/cache", "readOnly": False},
            {"name": "words", "mountPath": "/words", "subPath": "b", "readOnly": True},
        ],
        "securityContext": {
            "runAsUser": 1000,
            "runAsGroup": 0,
            "fsGroup": 1000,
            "supplementalGroups": [44],
            "seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"},
        },
    },
}


def test_what_the_cluster_acts_on_is_taken_as_it_was_written(namespace: str) -> None:
    spec = dry_run(namespace, with_spec(**PLACED))["spec"]
    assert {name: spec[name] for name in PLACED} == PLACED


def pod(**fields: Any) -> dict[str, Any]:
    return {"podOverrides": fields}


def tolerate(**fields: Any) -> dict[str, Any]:
    return {"scheduling": {"tolerations": [fields]}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 3}, 'unknown field "spec.epochs"'),
        ({"training": {"epochs": -1}}, "spec.training.epochs"),
        ({"training": {"learningRate": "0"}}, "learningRate must be above 0"),
        ({"training": {"learningRate": "fast"}}, "spec.training.learningRate"),
        ({"model": {"hiddenSize": 10, "attentionHeads": 3}}, "multiple of attentionHeads"),
        ({"model": {"dropout": "1.5"}}, "dropout must be below 1"),
        ({"model": {"targets": []}}, "spec.model.targets"),
        ({"model": {"targets": [{"name": "a"}, {"name": "a"}]}}, "Duplicate value"),
        (
            {"model": {"targets": [{"name": "a", "weight": "0"}]}},
            "weight of a target must be above 0",
        ),
        ({"data": {"uri": "/a/local/folder"}}, "spec.data.uri"),
        (with_data(window={"start": MAY, "lookbackSeconds": 60}), "excludes window.look"),
        (with_data(window={"end": MAY, "lookbackSeconds": 60}), "excludes window.look"),
        (with_data(window={"endOffsetSeconds": 60, "end": MAY}), "needs window.lookbackSeconds"),
        (with_data(window={"start": MAY, "end": MAY}), "must lie before window.end"),
        (with_data(window={"start": "yesterday"}), "spec.data.window.start"),
        (with_data(window={"lookbackSeconds": 0}), "spec.data.window.lookbackSeconds"),
        (with_data(split={"validationPercent": 81}), "spec.data.split.validationPercent"),
        (with_data(split={"validationPercent": 50, "holdoutPercent": 41}), "less than 10 percent"),
        (with_data(cadenceSeconds=7), "cadenceSeconds must divide a day"),
        (with_data(columns=[{"name": "a"}, {"name": "a", "from": "b"}]), "Duplicate value"),
        (with_data(columns=[{"name": "a", "from": "b"}, {"name": "b"}]), "have the same from"),
        (with_data(columns=[{"name": "a", "factor": "0.0"}]), "factor of a column must be above 0"),
        (with_data(columns=[{"name": "status", "factor": "2"}]), "are no metrics"),
        (with_data(columns=[{"name": "profile", "aggregate": "Max"}]), "are no metrics"),
        (with_data(columns=[{"name": "a", "aggregate": "Median"}]), "aggregate"),
        (with_data(columns=[{"name": f"c{n}"} for n in range(65)]), "spec.data.columns"),
        (with_data(servers={"include": [""]}), "spec.data.servers.include"),
        (with_data(timeZone="../etc/passwd"), "spec.data.timeZone"),
        (with_data(gaps={"minObservedPercent": 0}), "spec.data.gaps.minObservedPercent"),
        (with_data(gaps={"maxGapSteps": 1001}), "spec.data.gaps.maxGapSteps"),
        (with_data(onChange="Ignore"), "spec.data.onChange"),
        (with_data(validation={"policy": "Maybe"}), "spec.data.validation.policy"),
        (with_data(validation={"minRows": 0}), "spec.data.validation.minRows"),
        (with_data(validation={"minServers": 0}), "spec.data.validation.minServers"),
        (with_data(validation={"minCoveragePercent": 101}), "validation.minCoveragePercent"),
        (with_data(validation={"maxMissingPercent": 100}), "validation.maxMissingPercent"),
        (with_data(validation={"maxStalenessSeconds": 0}), "validation.maxStalenessSeconds"),
        (
            with_data(validation={"policy": "Off", "minRows": 1}),
            "limits mean nothing with policy Off",
        ),
        ({"training": {"mode": "Fast"}}, "spec.training.mode"),
        (
            {"training": {"mode": "Standard", "memoryBudget": "1Gi"}},
            "memoryBudget means nothing with mode Standard",
        ),
        ({"training": {"memoryBudget": "0"}}, "memoryBudget must be above 0"),
        ({"training": {"memoryBudget": 0}}, "memoryBudget must be above 0"),
        ({"training": {"memoryBudget": "500m"}}, "memoryBudget must be above 0"),
        ({"training": {"memoryBudget": "much"}}, "spec.training.memoryBudget"),
        ({"training": {"windowStride": 0}}, "spec.training.windowStride"),
        ({"training": {"windowsPerEpoch": 0}}, "spec.training.windowsPerEpoch"),
        ({"storage": {"caBundleRef": {}}}, "spec.storage.caBundleRef.name"),
        ({"storage": {"caBundleRef": {"name": "a", "key": "../b"}}}, "spec.storage.caBundleRef"),
        (
            {"storage": {"secretRef": {"name": "s"}, "serviceAccountName": "a"}},
            "exclude each other",
        ),
        ({"resourcesPerNode": {"limits": {"cpu": "much"}}}, "spec.resourcesPerNode.limits"),
        ({"resourcesPerNode": {"limits": {"nvidia.com/gpu": 2}}}, "a run trains on one, ask for 1"),
        (
            {"resourcesPerNode": {"requests": {"amd.com/gpu": "1k"}}},
            "resourcesPerNode.requests asks for more than one GPU",
        ),
        (
            {"resourcesPerNode": {"limits": {"nvidia.com/gpu.shared": "4"}}},
            "resourcesPerNode.limits asks for more than one GPU",
        ),
        (
            {"resourcesPerNode": {"limits": {"a.b/gpu": "1", "a.b/mig-1g": "1"}}},
            "resourcesPerNode.limits asks for more than one GPU",
        ),
        ({"maxDisruptions": -1}, "spec.maxDisruptions"),
        ({"preRunningDeadlineSeconds": 0}, "spec.preRunningDeadlineSeconds"),
        ({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds"),
        ({"nodeUnreachableSeconds": 0}, "spec.nodeUnreachableSeconds"),
        ({"ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished"),
        ({"imagePullPolicy": "Sometimes"}, "spec.imagePullPolicy"),
        ({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}, "Duplicate value"),
        ({"scheduling": {"nodeName": "node-1"}}, 'unknown field "spec.scheduling.nodeName"'),
        ({"scheduling": {"priorityClassName": "Not A Name"}}, "priorityClassName"),
        (tolerate(key="a", operator="Exists", value="b"), "Exists takes no value"),
        (tolerate(operator="Equal"), "one without key needs operator Exists"),
        (tolerate(key="a", tolerationSeconds=5), "needs effect NoExecute"),
        (pod(labels={"argus.tachyon.dev/run": "x"}), "podOverrides.labels: keys of argus"),
        (pod(labels={"kueue.x-k8s.io/queue-name": "x"}), "belong to Argus and Kueue"),
        (pod(annotations={"argus.tachyon.dev/a": "x"}), "podOverrides.annotations: keys of argus"),
        (pod(labels={"a": "not a value"}), "spec.podOverrides.labels"),
        (pod(env=[{"name": "ARGUS_LAUNCH", "value": "{}"}]), "that begin with ARGUS_ belong"),
        (pod(env=[{"name": "A"}, {"name": "A"}]), "Duplicate value"),
        (
            pod(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]),
            "value and valueFrom exclude each other",
        ),
        (pod(env=[{"name": "A", "valueFrom": {}}]), "valueFrom takes exactly one of secretKeyRef"),
        (pod(envFrom=[{"prefix": "A"}]), "exactly one of configMapRef and secretRef"),
        (pod(envFrom=[{"prefix": "ARGUS_", "secretRef": {"name": "a"}}]), "begin with ARGUS_"),
        (pod(volumes=[{"name": "a", "hostPath": {"path": "/"}}]), "volumes[0].hostPath"),
        (pod(volumes=[{"name": "a"}]), "no other kind is allowed"),
        (pod(volumes=[{"name": "a", "emptyDir": {}, "secret": {}}]), "exactly one of configMap"),
        (pod(volumes=[{"name": "argus-x", "emptyDir": {}}]), "begin with argus- belong"),
        (pod(volumeMounts=[{"name": "a", "mountPath": "/a"}]), "not in podOverrides.volumes"),
        (pod(securityContext={"runAsUser": 0}), "spec.podOverrides.securityContext.runAsUser"),
        (pod(securityContext={"privileged": True}), "securityContext.privileged"),
        (pod(securityContext={"seccompProfile": {"type": "Unconfined"}}), "seccompProfile.type"),
        (pod(securityContext={"seccompProfile": {"type": "Localhost"}}), "localhostProfile goes"),
        (pod(hostNetwork=True), "podOverrides.hostNetwork"),
    ],
)
def test_bad_fields_are_refused_by_name(
    namespace: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandFailed) as refusal:
        dry_run(namespace, with_spec(**fields))
    assert message in str(refusal.value)


def test_a_name_too_long_for_its_children_is_refused(namespace: str) -> None:
    document = copy.deepcopy(VALID)
    document["metadata"]["name"] = "x" * 46
    with pytest.raises(CommandFailed, match="at most 45 characters"):
        dry_run(namespace, document)


def test_quantities_may_be_numbers_as_in_a_pod(namespace: str) -> None:
    stored = dry_run(namespace, with_spec(resourcesPerNode={"limits": {"cpu": 2, "memory": "1Gi"}}))
    assert stored["spec"]["resourcesPerNode"]["limits"] == {"cpu": 2, "memory": "1Gi"}


@pytest.fixture
def stored(namespace: str) -> Any:
    """A resource that can never start: its image is refused before a node is asked."""
    document = with_spec(image="localhost/never:built", checkpoint={"uri": "s3://argus/c"})
    text = json.dumps(document)
    kubectl("create", "-n", namespace, "-f", "-", stdin=text)
    yield document
    kubectl("delete", "atj", "checked", "-n", namespace)


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"training": {"epochs": 7}}, "spec.training"),
        ({"training": {"memoryBudget": "1Gi"}}, "spec.training"),
        ({"model": {"hiddenSize": 16}}, "spec.model"),
        ({"terminationGracePeriodSeconds": 99}, "spec.terminationGracePeriodSeconds"),
        ({"data": {"uri": "s3://argus/other"}}, "spec.data"),
        ({"data": {"window": {"lookbackSeconds": 60}}}, "spec.data"),
        ({"data": {"columns": [{"name": "a", "factor": "100"}]}}, "spec.data"),
        ({"data": {"gaps": {"maxGapSteps": 9}}}, "spec.data"),
        ({"data": {"validation": {"policy": "Off"}}}, "spec.data"),
        ({"image": "another:image"}, "spec.image"),
        ({"image": None}, "spec.image"),
        ({"runToken": "2"}, "spec.runToken"),
        ({"checkpoint": {"uri": "s3://argus/d"}}, "spec.checkpoint.uri"),
        ({"checkpoint": {"uri": None}}, "spec.checkpoint.uri"),
        ({"checkpoint": None}, "spec.checkpoint.uri"),
        ({"checkpoint": {"everyChunks": 9}}, "spec.checkpoint.everyChunks"),
        ({"checkpoint": {"keepLast": 9}}, "spec.checkpoint.keepLast"),
        ({"checkpoint": {"resumePolicy": "Never"}}, "spec.checkpoint.resumePolicy"),
        ({"storage": {"singleWriter": True}}, "spec.storage"),
        ({"output": {"uri": "s3://argus/o"}}, "spec.output"),
        ({"storage": {"endpoint": "http://elsewhere"}}, "spec.storage"),
        ({"storage": {"caBundleRef": {"name": "another"}}}, "spec.storage"),
        ({"imagePullPolicy": "Never"}, "spec.imagePullPolicy"),
        ({"imagePullSecrets": [{"name": "another"}]}, "spec.imagePullSecrets"),
        ({"podOverrides": {"labels": {"a": "b"}}}, "spec.podOverrides"),
    ],
)
def test_what_a_run_is_made_of_cannot_change_and_the_message_names_the_way_out(
    namespace: str, stored: Any, patch: dict[str, Any], field: str
) -> None:
    with pytest.raises(CommandFailed) as refusal:
        kubectl(
            "patch",
            "atj",
            "checked",
            "-n",
            namespace,
            "--type=merge",
            "-p",
            json.dumps({"spec": patch}),
        )
    assert f"{field} cannot be changed: make a new ArgusTrainingJob" in str(refusal.value)


def change(namespace: str, **fields: Any) -> None:
    """Changes fields of the stored resource as a person would."""
    patch = json.dumps({"spec": fields})
    kubectl("patch", "atj", "checked", "-n", namespace, "--type=merge", "-p", patch)


@pytest.mark.parametrize(
    "fields",
    [
        {"resourcesPerNode": {"limits": {"memory": "2Gi"}}},
        {"scheduling": {"priorityClassName": "high"}},
    ],
)
def test_where_a_run_runs_may_change_only_while_it_is_suspended(
    namespace: str, stored: Any, fields: dict[str, Any]
) -> None:
    (field,) = fields
    message = f"spec.{field} can be changed only while the run is suspended: set spec.suspend"
    with pytest.raises(CommandFailed, match=message):
        change(namespace, **fields)
    change(namespace, suspend=True)
    kubectl("wait", "--for=condition=Suspended", "atj/checked", "-n", namespace, "--timeout=60s")
    listed = kubectl("get", "atj", "-n", namespace, "--field-selector", "spec.suspend=true")
    assert "Suspended" in listed
    change(namespace, **fields)
    change(namespace, suspend=False)
    kubectl(
        "wait", "--for=condition=Suspended=false", "atj/checked", "-n", namespace, "--timeout=60s"
    )
    with pytest.raises(CommandFailed, match=message):
        change(namespace, **{field: None})


@pytest.mark.parametrize("field", ["preRunningDeadlineSeconds", "activeDeadlineSeconds"])
def test_a_deadline_can_only_be_raised_or_removed(namespace: str, stored: Any, field: str) -> None:
    message = f"spec.{field} can only be raised or removed: to end the run earlier"
    with pytest.raises(CommandFailed, match=message):
        change(namespace, **{field: 5000})
    kubectl("delete", "atj", "checked", "-n", namespace)
    stored["spec"][field] = 5000
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(stored))
    change(namespace, **{field: 6000})
    with pytest.raises(CommandFailed, match=message):
        change(namespace, **{field: 5999})
    change(namespace, **{field: None})


def test_the_save_period_and_the_retries_may_change(namespace: str, stored: Any) -> None:
    change(namespace, backoffLimit=9, checkpoint={"periodSeconds": 9})
    change(namespace, maxDisruptions=1, nodeUnreachableSeconds=9, ttlSecondsAfterFinished=9)
    change(namespace, ttlSecondsAfterFinished=1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"scheduling": {"affinity": {"nodeAffinity": {"required": []}}}},
            'unknown field "spec.template.spec.affinity.nodeAffinity.required"',
        ),
        (
            {"scheduling": {"affinity": {"nodeAffinity": "everywhere"}}},
            "cannot unmarshal string",
        ),
        (
            {"podOverrides": {"volumes": [{"name": "a", "secret": {}}]}},
            "secret.secretName: Required value",
        ),
    ],
)
def test_what_only_kubernetes_itself_can_judge_is_refused_in_its_own_words(
    namespace: str, fields: dict[str, Any], words: str
) -> None:
    storage = {"serviceAccountName": "default"}
    document = with_spec(**fields, storage=storage, image="localhost/never:built")
    document["metadata"]["name"] = "judged"
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    try:
        for wanted in ("condition=Accepted=false", "condition=Stalled"):
            kubectl("wait", f"--for={wanted}", "atj/judged", "-n", namespace, "--timeout=60s")
        status = json.loads(kubectl("get", "atj", "judged", "-n", namespace, "-o", "json"))[
            "status"
        ]
        assert (status["phase"], status["reason"]) == ("Pending", "JobInvalid")
        assert words in status["message"]
        own = "argus.tachyon.dev/run=judged"
        assert kubectl("get", "jobs", "-n", namespace, "-l", own, "-o", "name") == ""
    finally:
        kubectl("delete", "atj", "judged", "-n", namespace)


def test_explain_reads_like_documentation(installed: None) -> None:
    text = kubectl("explain", "argustrainingjobs.spec.checkpoint.everyChunks")
    assert "Save when this many further chunks were consumed" in text
    text = kubectl("explain", "argustrainingjobs.spec.data.columns.aggregate")
    assert "how rows of one step become one value" in text
    assert "Median" not in text
    assert "Last" in text
    text = kubectl("explain", "argustrainingjobs.spec.data.validation.minCoveragePercent")
    assert "have a row, in percent. Default: not checked. Example: 90." in " ".join(text.split())


def test_client_side_apply_has_room_for_the_definition(installed: None) -> None:
    text = kubectl("get", "crd", "argustrainingjobs.argus.tachyon.dev", "-o", "json")
    assert len(json.dumps(json.loads(text)["spec"])) < 100_000
