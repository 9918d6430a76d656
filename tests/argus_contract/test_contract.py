"""The contract keeps its promises: identities stay, documents round-trip, limits hold."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from argus_contract import layout
from argus_contract.crd import custom_resource_definition, structural, to_yaml
from argus_contract.exit_codes import FATAL, IGNORED, ExitCode
from argus_contract.names import MAX_TERMINATION_BYTES
from argus_contract.progress import ProgressReport, TrainerPhase
from argus_contract.run_key import canonical, job_name, run_key
from argus_contract.spec import ArgusTrainingJobSpec, TrainingSpec
from argus_contract.status import Artifact, Attempt, EndReason, PublishedState

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
DATA = {"data": {"uri": "s3://metrics/edge"}}


def spec(**fields: Any) -> ArgusTrainingJobSpec:
    return ArgusTrainingJobSpec.model_validate({**DATA, **fields})


@pytest.mark.parametrize(
    ("given", "digest"),
    [
        (spec(), "73493710984b8d55e5fa"),
        (
            spec(
                runToken="2",
                model={"hiddenSize": 16, "attentionHeads": 2},
                training={"epochs": 3, "learningRate": "0.005"},
            ),
            "f04d57864913e23d659a",
        ),
    ],
)
def test_run_keys_of_this_version_stay_for_ever(given: ArgusTrainingJobSpec, digest: str) -> None:
    assert run_key("prod", "team", "edge", given) == digest


def test_a_default_that_is_written_out_is_the_same_run() -> None:
    written = spec(training={"epochs": 20, "learningRate": "0.010", "seed": 42})
    assert run_key("c", "n", "x", written) == run_key("c", "n", "x", spec())


@pytest.mark.parametrize(
    "changed",
    [
        {"runToken": "again"},
        {"data": {"uri": "s3://metrics/other"}},
        {"training": {"seed": 43}},
        {"model": {"targets": [{"name": "load_average"}]}},
    ],
)
def test_what_changes_the_model_changes_the_key(changed: dict[str, Any]) -> None:
    assert run_key("c", "n", "x", spec(**changed)) != run_key("c", "n", "x", spec())


@pytest.mark.parametrize(
    "changed",
    [
        {"checkpoint": {"periodSeconds": 7}},
        {"backoffLimit": 9},
        {"image": "another:one"},
        {"storage": {"endpoint": "http://other:9000"}},
    ],
)
def test_where_and_how_it_runs_does_not_change_the_key(changed: dict[str, Any]) -> None:
    assert run_key("c", "n", "x", spec(**changed)) == run_key("c", "n", "x", spec())


def test_two_clusters_never_share_checkpoints() -> None:
    assert run_key("one", "n", "x", spec()) != run_key("two", "n", "x", spec())


def test_canonical_leaves_defaults_out() -> None:
    assert canonical(TrainingSpec()) == {}
    assert canonical(TrainingSpec(epochs=3)) == {"epochs": 3}


def test_the_longest_name_makes_a_valid_job_name() -> None:
    assert len(job_name("x" * 45, "0" * 20, 9999999)) <= 63


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"training": {"epochs": -1}}, "epochs"),
        ({"training": {"learningRate": "0"}}, "learningRate"),
        ({"model": {"hiddenSize": 10, "attentionHeads": 4}}, "attentionHeads"),
        ({"model": {"dropout": "1"}}, "dropout"),
        ({"model": {"targets": [{"name": "a", "weight": "0"}]}}, "weight"),
        ({"epochs": 3}, "epochs"),
        ({"data": {"uri": "http://no"}}, "uri"),
        ({"storage": {"secretRef": {"name": "a"}, "serviceAccountName": "b"}}, "secretRef"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        spec(**fields)


def test_a_termination_message_always_fits() -> None:
    attempts = tuple(
        Attempt(number=n, pod="p" * 60, start=NOW, end_reason=EndReason.LOST, message="m" * 1024)
        for n in range(1, 11)
    )
    artifact = Artifact(
        uri="s3://b/" + "x" * 900,
        digest="d" * 64,
        files=tuple(f"{n:02d}" + "f" * 60 for n in range(60)),
        published=PublishedState.TRUE,
    )
    report = ProgressReport(
        run_key="k",
        phase=TrainerPhase.ENDED,
        time=NOW,
        attempts=attempts,
        artifact=artifact,
        message="w" * 1024,
    )
    text = report.to_termination_message()
    assert len(text.encode()) <= MAX_TERMINATION_BYTES
    kept = ProgressReport.model_validate_json(text)
    assert kept.artifact is not None
    assert kept.artifact.uri == artifact.uri
    assert kept.message == report.message


def test_exit_codes_have_one_meaning_each() -> None:
    assert not set(IGNORED) & set(FATAL)
    assert ExitCode.PREEMPTED in IGNORED
    assert ExitCode.OK not in (*IGNORED, *FATAL)


def test_object_keys_read_back_as_they_were_written() -> None:
    step = layout.StepId(claim=3, step=41200)
    assert step.manifest == "steps/000003-000000041200.json"
    assert layout.StepId.from_manifest(step.manifest) == step
    assert layout.StepId.from_manifest(step.tensors) is None
    assert layout.claim_number(layout.claim(7)) == (7, False)
    assert layout.claim_number(layout.claim_end(7)) == (7, True)
    assert layout.claim_number("claims/readme") is None
    assert layout.published_number(layout.published(12)) == 12


def test_the_definition_is_structural_and_small() -> None:
    text = to_yaml()
    assert len(text.encode()) < 100_000
    for word in ("$ref", "anyOf", "allOf", "additionalProperties: false", ": null"):
        assert word not in text


def test_a_union_cannot_enter_the_definition_unseen() -> None:
    with pytest.raises(ValueError, match="union"):
        structural({"anyOf": [{"type": "string"}, {"type": "integer"}]}, {})


def test_every_field_of_the_spec_is_documented() -> None:
    root = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    def undocumented(node: dict[str, Any], path: str) -> list[str]:
        missing = [] if node.get("description") else [path]
        for name, child in node.get("properties", {}).items():
            missing += undocumented(child, f"{path}.{name}")
        return missing

    assert undocumented(root["properties"]["spec"], "spec") == []
    assert undocumented(root["properties"]["status"], "status") == []
