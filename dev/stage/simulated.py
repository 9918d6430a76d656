"""What tests and benchmarks put on a simulated control plane, and where the API server has it."""

from argus_contract import names
from cluster.simulation import RUNS_FOR
from stage.api import JsonObject


def runs_path(namespace: str) -> str:
    return f"/apis/{names.GROUP}/{names.VERSION}/namespaces/{namespace}/{names.PLURAL}"


def jobs_path(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def pods_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def make_run(
    name: str, *, validation: str | None = "Off", runs_for: str | None = None
) -> JsonObject:
    """Returns the shortest run.

    `validation` is its policy, None the default; `runs_for`, for example "2s", lets
    its pods succeed by themselves after that time.
    """
    data: JsonObject = {"uri": "s3://metrics/edge"}
    if validation:
        data["validation"] = {"policy": validation}
    spec: JsonObject = {"data": data}
    if runs_for:
        spec["podOverrides"] = {"annotations": {RUNS_FOR: runs_for}}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": spec,
    }
