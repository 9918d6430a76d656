"""What tests and benchmarks put on a simulated control plane, and where the API server has it."""

from argus_contract import names
from cluster.simulation import RUNS_FOR
from stage.api import Api, JsonObject
from stage.waiting import until

PHASE_SECONDS = 60


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
    return run_of(name, spec)


def run_of(name: str, spec: JsonObject) -> JsonObject:
    """Returns the run that a user would send."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": spec,
    }


def wait_phase(api: Api, path: str, *phases: str) -> None:
    """Waits until the run at this path is in one of these phases."""
    until(
        lambda: api.get(path).get("status", {}).get("phase") in phases,
        PHASE_SECONDS,
        f"{path} to be {' or '.join(phases)}",
    )
