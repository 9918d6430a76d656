"""What the API server itself says to a person who writes an ArgusTrainingJob."""

import copy
import json
from typing import Any

import pytest

from stage.kubectl import CommandFailed, kubectl

pytestmark = pytest.mark.cluster

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
    assert spec["training"] == {"epochs": 20, "batchSize": 128, "learningRate": "0.01", "seed": 42}
    assert spec["model"]["encoderLength"] == 288
    assert spec["model"]["predictionLength"] == 96
    assert [target["name"] for target in spec["model"]["targets"]] == [
        "cpu_user_pct",
        "cpu_iowait_pct",
        "mem_used_pct",
        "swap_used_pct",
        "load_average",
    ]


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
        (
            {"storage": {"secretRef": {"name": "s"}, "serviceAccountName": "a"}},
            "exclude each other",
        ),
        ({"resourcesPerNode": {"limits": {"cpu": "much"}}}, "spec.resourcesPerNode.limits"),
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
        ({"data": {"uri": "s3://argus/other"}}, "spec.data"),
        ({"image": "another:image"}, "spec.image"),
        ({"image": None}, "spec.image"),
        ({"runToken": "2"}, "spec.runToken"),
        ({"checkpoint": {"uri": "s3://argus/d"}}, "spec.checkpoint.uri"),
        ({"checkpoint": {"everyChunks": 9}}, "spec.checkpoint.everyChunks"),
        ({"output": {"uri": "s3://argus/o"}}, "spec.output"),
        ({"storage": {"endpoint": "http://elsewhere"}}, "spec.storage"),
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


def test_the_save_period_and_the_retries_may_change(namespace: str, stored: Any) -> None:
    patch = json.dumps({"spec": {"backoffLimit": 9, "checkpoint": {"periodSeconds": 9}}})
    kubectl("patch", "atj", "checked", "-n", namespace, "--type=merge", "-p", patch)


def test_explain_reads_like_documentation(installed: None) -> None:
    text = kubectl("explain", "argustrainingjobs.spec.checkpoint.everyChunks")
    assert "Save when this many further chunks were consumed" in text


def test_client_side_apply_has_room_for_the_definition(installed: None) -> None:
    text = kubectl("get", "crd", "argustrainingjobs.argus.tachyon.dev", "-o", "json")
    assert len(json.dumps(json.loads(text)["spec"])) < 100_000
