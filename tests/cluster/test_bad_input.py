"""Bad input gets a clear answer on the resource itself, and loses nothing."""

import json
from typing import Any

import pytest

from stage.kubectl import kubectl
from stage.manifests import DATASETS, small_run
from stage.runs import Run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def bad(name: str, uri: str, **spec: Any) -> dict[str, Any]:
    document = small_run(name, uri)
    document["spec"] |= {"backoffLimit": 0, **spec}
    return document


def test_every_wrong_run_fails_with_its_reason_and_the_way_out(
    namespace: str, small_dataset: str
) -> None:
    wrong_keys = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "wrong-keys", "namespace": namespace},
        "stringData": {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(wrong_keys))
    missing_column = small_run("x", small_dataset)["spec"]["model"] | {
        "targets": [{"name": "gpu_temp"}]
    }
    cases = [
        (bad("no-bucket", "s3://no-such-bucket/data"), "ConfigurationError", "no-such-bucket"),
        (bad("empty-prefix", f"{DATASETS}/nothing-here"), "DataError", "nothing-here"),
        (
            bad("wrong-keys", small_dataset, storage={"secretRef": {"name": "wrong-keys"}}),
            "StorageAccessDenied",
            "AWS_ACCESS_KEY_ID",
        ),
        (bad("no-column", small_dataset, model=missing_column), "DataError", "gpu_temp"),
    ]
    runs = [(Run.apply(namespace, document), reason, word) for document, reason, word in cases]
    for run, reason, word in runs:
        status = run.wait_end(180)
        assert (status["phase"], status["reason"]) == ("Failed", reason), (run.name, status)
        assert word in status["message"], (run.name, status["message"])
        conditions = {c["type"]: c["status"] for c in status["conditions"]}
        assert conditions["Failed"] == "True"
        assert "artifact" not in status
        row = kubectl("get", "atj", run.name, "-n", namespace, "-o", "wide")
        assert reason in row
        run.delete()


def test_an_image_that_does_not_exist_is_named_within_a_minute(
    namespace: str, small_dataset: str
) -> None:
    run = Run.apply(namespace, bad("no-image", small_dataset, image="localhost/never-built:1"))
    status = run.wait(lambda s: s.get("pending", {}).get("source") == "Image", 60)
    assert "localhost/never-built:1" in status["pending"]["message"]
    assert status["phase"] in ("Pending", "Starting")
    row = kubectl("get", "atj", "no-image", "-n", namespace, "-o", "wide")
    assert status["reason"] in row
    assert "Image" in status["reason"] or "ImagePull" in status["reason"]
    run.delete()


@pytest.mark.parametrize(
    ("name", "storage"),
    [
        ("no-secret", {"secretRef": {"name": "not-there-yet"}}),
        ("no-ca", {"caBundleRef": {"name": "not-there-yet"}}),
    ],
)
def test_a_secret_or_config_map_that_is_missing_is_waited_for_and_named(
    namespace: str, small_dataset: str, name: str, storage: dict[str, Any]
) -> None:
    run = Run.apply(namespace, bad(name, small_dataset, storage=storage))
    status = run.wait(lambda s: "not-there-yet" in s.get("pending", {}).get("message", ""), 90)
    assert status["pending"]["source"] == "Pod"
    assert status["phase"] in ("Pending", "Starting")
    run.delete()
