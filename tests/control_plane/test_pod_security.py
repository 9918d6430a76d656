"""Pods of Argus are taken at the strictest level of Pod Security, those that plan as well."""

from typing import Any

import pytest

from stage.control_plane import ControlPlane
from stage.operator_process import Chart
from stage.waiting import until

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(120)]

NAMESPACE = "restricted"


@pytest.mark.parametrize(("policy", "component"), [("Off", "trainer"), ("Enforce", "planner")])
def test_a_namespace_at_level_restricted_takes_the_pods_of_a_run(
    plane: ControlPlane, chart: Chart, policy: str, component: str
) -> None:
    api = plane.api()
    if api.find(f"/api/v1/namespaces/{NAMESPACE}") is None:
        plane.make_namespace(NAMESPACE)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.patch(f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"labels": labels}})
    runs = f"/apis/argus.tachyon.dev/v1alpha1/namespaces/{NAMESPACE}/argustrainingjobs"
    name = f"run-{policy.lower()}"
    run = {
        "apiVersion": "argus.tachyon.dev/v1alpha1",
        "kind": "ArgusTrainingJob",
        "metadata": {"name": name},
        "spec": {"data": {"uri": "s3://metrics/edge", "validation": {"policy": policy}}},
    }
    selector = f"argus.tachyon.dev/run={name},argus.tachyon.dev/component={component}"

    def pods() -> list[dict[str, Any]]:
        return api.items(f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=selector)

    with chart.operator():
        api.create(runs, run)
        until(pods, 30, f"a {component} in a restricted namespace")
        api.delete(f"{runs}/{name}")
