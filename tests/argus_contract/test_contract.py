"""The contract keeps its promises: identities stay, documents round-trip, limits hold."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from argus_contract import layout
from argus_contract.crd import custom_resource_definition, structural, to_yaml
from argus_contract.data_spec import ValidationSpec
from argus_contract.decimals import QUANTITY_PATTERN
from argus_contract.exit_codes import FATAL, IGNORED, ExitCode
from argus_contract.names import MAX_TERMINATION_BYTES
from argus_contract.pod_spec import VOLUME_SOURCES
from argus_contract.progress import MAX_PROBLEMS, ProgressReport, TrainerPhase, Validation
from argus_contract.run_key import (
    canonical,
    configuration_digest,
    is_job_of,
    job_name,
    plans,
    run_key,
)
from argus_contract.spec import ArgusTrainingJobSpec, TrainingSpec
from argus_contract.status import Artifact, Attempt, EndReason, PublishedState

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
MAY = "2026-05-01T00:00:00Z"
DATA = {"data": {"uri": "s3://metrics/edge"}}


def spec(**fields: Any) -> ArgusTrainingJobSpec:
    return ArgusTrainingJobSpec.model_validate({**DATA, **fields})


def crd_field(name: str) -> dict[str, Any]:
    """Returns the schema of a field of the spec."""
    (version,) = custom_resource_definition()["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found["properties"][name]  # type: ignore[no-any-return]


def data(**fields: Any) -> dict[str, Any]:
    return {"data": {**DATA["data"], **fields}}


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


WRITTEN_OUT = data(
    window={},
    split={"validationPercent": 20},
    cadenceSeconds=0,
    columns=[],
    servers={"include": []},
    timeZone="UTC",
    gaps={"maxGapSteps": 3, "minObservedPercent": 80},
    onChange="Fail",
)


def test_nested_defaults_that_are_written_out_are_the_same_run() -> None:
    training = {"windowStride": 1, "windowsPerEpoch": None, "deterministic": False}
    written = spec(**WRITTEN_OUT, training=training)
    assert written.data.model_fields_set > spec().data.model_fields_set
    assert run_key("c", "n", "x", written) == run_key("c", "n", "x", spec())


def test_what_the_server_stores_is_the_same_run_as_what_was_written() -> None:
    written = spec(**data(gaps={"maxGapSteps": 5}, columns=[{"name": "a", "from": "b"}]))
    stored = ArgusTrainingJobSpec.model_validate(written.to_wire())
    assert stored.data.gaps.model_fields_set > written.data.gaps.model_fields_set
    assert run_key("c", "n", "x", stored) == run_key("c", "n", "x", written)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            data(columns=[{"name": "a", "from": "x"}, {"name": "b", "factor": "100"}]),
            data(columns=[{"name": "b", "factor": "100.0"}, {"name": "a", "from": "x"}]),
        ),
        (
            data(servers={"include": ["web-*", "db-*"]}),
            data(servers={"include": ["db-*", "web-*", "db-*"], "exclude": []}),
        ),
        (
            data(window={"start": "2026-01-01T00:00:00Z"}),
            data(window={"start": "2026-01-01T01:00:00.25+01:00"}),
        ),
    ],
)
def test_the_same_data_said_otherwise_is_the_same_run(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert run_key("c", "n", "x", spec(**one)) == run_key("c", "n", "x", spec(**other))


@pytest.mark.parametrize(
    "training",
    [{"mode": "Standard"}, {"mode": "Streaming"}, {"memoryBudget": "4Gi"}, {"memoryBudget": 1024}],
)
def test_a_run_may_go_on_with_more_or_less_memory(training: dict[str, Any]) -> None:
    given = spec(training={"epochs": 3, **training})
    assert run_key("c", "n", "x", given) == run_key("c", "n", "x", spec(training={"epochs": 3}))


@pytest.mark.parametrize(
    "how",
    [
        {"checkpoint": {"keepLast": 1, "resumePolicy": "Never", "everyChunks": 9}},
        {"checkpoint": {"periodSeconds": 1}},
        {"storage": {"singleWriter": True}},
    ],
)
def test_how_states_are_kept_is_no_part_of_the_identity(how: dict[str, Any]) -> None:
    assert run_key("c", "n", "x", spec(**how)) == run_key("c", "n", "x", spec())


@pytest.mark.parametrize("policy", ["Off", "Warn", "Enforce"])
def test_how_the_data_is_judged_is_no_part_of_the_identity(policy: str) -> None:
    limits = {} if policy == "Off" else {"minRows": 9, "maxMissingPercent": 0}
    judged = data(validation={"policy": policy, **limits})
    assert run_key("c", "n", "x", spec(**judged)) == run_key("c", "n", "x", spec())


def test_limits_of_data_that_nobody_judges_are_refused() -> None:
    with pytest.raises(ValidationError, match="minRows, maxMissingPercent means nothing"):
        ValidationSpec.model_validate({"policy": "Off", "minRows": 9, "maxMissingPercent": 0})


@pytest.mark.parametrize("run", ["edge", "a-plan", "plan-1", "x" * 45])
def test_a_planning_job_is_told_from_a_training_by_its_name(run: str) -> None:
    key = run_key("c", "n", run, spec())
    for generation in (1, 10, 999):
        planning = job_name(run, key, generation, planning=True)
        assert plans(planning)
        assert len(planning) <= 63
        assert not plans(job_name(run, key, generation))


def test_a_configuration_is_the_same_whatever_is_written_out_or_kept_in_memory() -> None:
    def digest(**fields: Any) -> str:
        given = spec(**fields)
        return configuration_digest(given.data, given.model, given.training)

    same = digest(training={"epochs": 20, "mode": "Streaming", "memoryBudget": "4Gi"})
    assert same == digest(**WRITTEN_OUT) == digest()
    assert len({digest(), digest(training={"epochs": 30}), digest(model={"dropout": "0.3"})}) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"runToken": "again"},
        {"data": {"uri": "s3://metrics/other"}},
        data(window={"lookbackSeconds": 86400}),
        data(window={"end": "2026-02-01T00:00:00Z"}),
        data(split={"holdoutPercent": 0}),
        data(cadenceSeconds=300),
        data(columns=[{"name": "a", "from": "b"}]),
        data(columns=[{"name": "a", "factor": "100"}]),
        data(columns=[{"name": "a", "aggregate": "Max"}]),
        data(servers={"include": ["web-*"]}),
        data(servers={"exclude": ["web-*"]}),
        data(timeZone="Europe/Berlin"),
        data(gaps={"maxGapSteps": 0}),
        data(gaps={"minObservedPercent": 100}),
        data(onChange="Repin"),
        {"training": {"windowStride": 2}},
        {"training": {"windowsPerEpoch": 1000}},
        {"training": {"deterministic": True}},
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
        {"progressDeadlineSeconds": 900},
        {"image": "another:one"},
        {"imagePullPolicy": "Always", "imagePullSecrets": [{"name": "a"}]},
        {"scheduling": {"priorityClassName": "low"}},
        {"podOverrides": {"labels": {"team": "edge"}}},
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
        ({"storage": {"caBundleRef": {"name": "a", "key": "../b"}}}, "caBundleRef"),
        (data(window={"start": MAY, "lookbackSeconds": 60}), "excludes window.lookbackSeconds"),
        (data(window={"end": MAY, "lookbackSeconds": 60}), "excludes window.lookbackSeconds"),
        (data(window={"endOffsetSeconds": 60}), "needs window.lookbackSeconds"),
        (data(window={"endOffsetSeconds": 60, "end": MAY}), "needs window.lookbackSeconds"),
        (data(window={"start": MAY, "end": MAY}), "must lie before window.end"),
        (
            data(window={"start": "2026-05-01T00:00:00.2Z", "end": "2026-05-01T00:00:00.7Z"}),
            "must lie before window.end",
        ),
        (data(window={"start": "2026-05-01T00:00:00"}), "needs a zone"),
        (data(split={"validationPercent": 50, "holdoutPercent": 41}), "less than 10 percent"),
        (data(split={"validationPercent": 81}), "validationPercent"),
        (data(cadenceSeconds=7), "does not divide a day"),
        (data(columns=[{"name": "a"}, {"name": "a", "from": "b"}]), "name a is given twice"),
        (data(columns=[{"name": "a", "from": "b"}, {"name": "b"}]), "from b is given twice"),
        (data(columns=[{"name": "a", "factor": "0.0"}]), "factor of column a"),
        (data(columns=[{"name": "status", "factor": "2"}]), "no metric"),
        (data(columns=[{"name": "profile", "aggregate": "Max"}]), "no metric"),
        (data(columns=[{"name": "a", "aggregate": "Median"}]), "aggregate"),
        (data(timeZone="../etc/passwd"), "timeZone"),
        (data(gaps={"minObservedPercent": 0}), "minObservedPercent"),
        (data(onChange="Ignore"), "onChange"),
        ({"training": {"mode": "Standard", "memoryBudget": "1Gi"}}, "nothing with mode Standard"),
        ({"training": {"memoryBudget": "500m"}}, "memoryBudget 500m must be above 0"),
        ({"training": {"memoryBudget": "much"}}, "memoryBudget"),
        ({"training": {"windowStride": 0}}, "windowStride"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        spec(**fields)


def pod(**fields: Any) -> dict[str, Any]:
    return {"podOverrides": fields}


def tolerate(**fields: Any) -> dict[str, Any]:
    return {"scheduling": {"tolerations": [fields]}}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        (pod(labels={"argus.tachyon.dev/run": "x"}), "belongs to Argus"),
        (pod(labels={"kueue.x-k8s.io/queue-name": "x"}), "belongs to Argus or Kueue"),
        (pod(annotations={"argus.tachyon.dev/a": "x"}), "belongs to Argus"),
        (pod(labels={"a": "not a value"}), "labels"),
        (pod(env=[{"name": "ARGUS_LAUNCH", "value": "{}"}]), "ARGUS_LAUNCH begins with ARGUS_"),
        (pod(env=[{"name": "A"}, {"name": "A"}]), "env A is given twice"),
        (
            pod(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]),
            "value and valueFrom",
        ),
        (pod(env=[{"name": "A", "valueFrom": {}}]), "exactly one of secretKeyRef"),
        (pod(envFrom=[{"prefix": "A"}]), "exactly one of configMapRef"),
        (pod(envFrom=[{"prefix": "ARGUS_", "secretRef": {"name": "a"}}]), "belongs to Argus"),
        (pod(volumes=[{"name": "a", "hostPath": {"path": "/"}}]), "hostPath"),
        (pod(volumes=[{"name": "a"}]), "volume a takes exactly one of configMap"),
        (pod(volumes=[{"name": "a", "emptyDir": {}, "secret": {}}]), "exactly one of configMap"),
        (pod(volumes=[{"name": "argus-storage", "emptyDir": {}}]), "begins with argus-"),
        (pod(volumeMounts=[{"name": "a", "mountPath": "/a"}]), "a is no volume of podOverrides"),
        (pod(volumeMounts=[{"name": "a", "mountPath": "a"}]), "mountPath"),
        (pod(securityContext={"runAsUser": 0}), "runAsUser"),
        (pod(securityContext={"privileged": True}), "privileged"),
        (pod(securityContext={"seccompProfile": {"type": "Unconfined"}}), "seccompProfile"),
        (pod(securityContext={"seccompProfile": {"type": "Localhost"}}), "localhostProfile"),
        (pod(hostNetwork=True), "hostNetwork"),
        (tolerate(key="a", operator="Exists", value="b"), "takes no value"),
        (tolerate(operator="Equal"), "needs operator Exists"),
        (tolerate(key="a", tolerationSeconds=5), "needs effect NoExecute"),
        ({"scheduling": {"nodeName": "node-1"}}, "nodeName"),
        ({"scheduling": {"priorityClassName": "Not A Name"}}, "priorityClassName"),
        ({"imagePullPolicy": "Sometimes"}, "imagePullPolicy"),
    ],
)
def test_a_pod_takes_only_what_the_lists_allow(fields: dict[str, Any], word: str) -> None:
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


@pytest.mark.parametrize("letter", ["x", "\u00fc", "\U0001f600"])
def test_a_verdict_of_many_words_fits_into_a_termination_message(letter: str) -> None:
    verdict = Validation(summary=letter * 256, problems=(letter * 400,) * MAX_PROBLEMS)
    report = ProgressReport(
        run_key="k",
        phase=TrainerPhase.ENDED,
        time=NOW,
        validation=verdict,
        message=letter * 1024,
        end_reason=EndReason.DATA,
    )
    text = report.to_termination_message()
    assert len(text.encode()) <= MAX_TERMINATION_BYTES
    kept = ProgressReport.model_validate_json(text).validation
    assert kept is not None
    assert not kept.passed, "fewer problems, never none"


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


def test_only_the_parts_of_kubernetes_itself_are_open() -> None:
    root = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    def open_parts(node: dict[str, Any], path: str) -> list[str]:
        found = [path] if node.get("x-kubernetes-preserve-unknown-fields") else []
        for name, child in node.get("properties", {}).items():
            found += open_parts(child, f"{path}.{name}")
        return found + (open_parts(node["items"], path) if "items" in node else [])

    volumes = "podOverrides.volumes"
    assert open_parts(root["properties"]["spec"], "") == [
        ".scheduling.affinity",
        *(f".{volumes}.{kind}" for kind in VOLUME_SOURCES),
    ]


def test_every_field_of_the_spec_is_documented() -> None:
    root = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    def undocumented(node: dict[str, Any], path: str) -> list[str]:
        missing = [] if node.get("description") else [path]
        for name, child in node.get("properties", {}).items():
            missing += undocumented(child, f"{path}.{name}")
        return missing

    assert undocumented(root["properties"]["spec"], "spec") == []
    assert undocumented(root["properties"]["status"], "status") == []


@pytest.mark.parametrize(
    "written",
    [
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+12:00",
        "0999-12-31T23:59:59Z",
        "2026-01-01t00:00:00z",
        "2026-01-01T00:00:00+99:99",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00Z\n",
    ],
)
def test_a_time_that_the_rules_of_the_crd_cannot_read_is_refused_by_crd_and_model(
    written: str,
) -> None:
    with pytest.raises(ValidationError, match="a year from 1000 to 2999"):
        spec(**data(window={"start": written}))
    window = crd_field("data")["properties"]["window"]["properties"]
    for field in ("start", "end"):
        # The API server's patterns know no final line break after $, Python's match does.
        assert not re.search(window[field]["pattern"].replace("$", r"\Z"), written)
        assert re.search(window[field]["pattern"], "2026-01-31T10:00:00.5+01:00")


def test_a_time_that_no_clock_can_show_in_utc_is_an_error_of_validation() -> None:
    beyond = datetime.fromisoformat("9999-12-31T23:59:59-12:00")
    with pytest.raises(ValidationError, match="outside of the years 1 to 9999"):
        ProgressReport(run_key="k", phase=TrainerPhase.TRAINING, time=beyond)
    with pytest.raises(ValidationError, match="outside of the years 1 to 9999"):
        spec(**data(window={"start": beyond}))


@pytest.mark.parametrize("written", ["2999-12-31T23:59:59-23:59", "1000-01-01T00:00:00+23:59"])
def test_a_zone_does_not_lead_out_of_the_years_that_can_be_read_again(written: str) -> None:
    with pytest.raises(ValidationError, match="no year from 1000 to 2999 in UTC"):
        spec(**data(window={"start": written}))


def test_a_time_before_the_year_1000_is_written_with_four_digits() -> None:
    early = Attempt(number=1, pod="a", start=datetime(7, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert early.to_wire()["start"] == "0007-01-02T03:04:05Z"


QUANTITIES = ("1e999999999", "1E-100", "-1", "1" * 33, "1e", "")


@pytest.mark.parametrize("amount", QUANTITIES)
def test_a_quantity_that_takes_long_to_compute_is_refused(amount: str) -> None:
    with pytest.raises(ValidationError):
        spec(resourcesPerNode={"limits": {"memory": amount}})
    field = crd_field("resourcesPerNode")["properties"]["limits"]["additionalProperties"]
    assert len(amount) > field["maxLength"] or not re.search(field["pattern"], amount)


@pytest.mark.parametrize("amount", [-1, -0.5])
def test_a_quantity_below_0_is_refused_as_a_number_too(amount: float) -> None:
    with pytest.raises(ValidationError):
        spec(resourcesPerNode={"limits": {"memory": amount}})
    field = crd_field("resourcesPerNode")["properties"]["limits"]["additionalProperties"]
    assert amount < field["minimum"] == 0
    assert spec(training={"memoryBudget": "1e9"}).training.memory_budget == "1e9"


def test_a_job_is_known_by_its_name() -> None:
    key = "0123abcd0123abcd0123"
    for planning in (False, True):
        assert is_job_of("edge", job_name("edge", key, 12, planning=planning))
    for other in ("edge", "edge-1", "edge-0123abcd", "edge-0123abcd-1\n", "eu-edge-0123abcd-1"):
        assert not is_job_of("edge", other)
    assert not is_job_of("e.ge", job_name("edge", key, 1))


def nested(levels: int) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for _ in range(levels):
        part = {"a": [part]}
    return part


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (nested(20), "nested deeper than 32 levels"),
        (nested(9000), "nested deeper than 32 levels"),
        ({"nodeAffinity": "x" * 17_000}, "use at most 16384"),
    ],
)
def test_a_free_part_of_a_pod_is_bounded(part: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as refused:
        spec(scheduling={"affinity": part})
    assert refused.value.errors(include_input=False)[0]["loc"] == ("scheduling", "affinity")
    volume = {"name": "x", "emptyDir": part}
    with pytest.raises(ValidationError, match=told):
        spec(podOverrides={"volumes": [volume]})
    assert spec(scheduling={"affinity": nested(12)}).scheduling.affinity


def test_a_quantity_of_the_charts_values_is_one_of_a_run() -> None:
    """JSON cannot refer to the contract, so the pattern stands there a second time."""
    schema = Path(__file__).parents[2] / "charts/argus/values.schema.json"
    definitions = json.loads(schema.read_text())["definitions"]
    assert definitions["quantities"]["additionalProperties"]["pattern"] == QUANTITY_PATTERN
