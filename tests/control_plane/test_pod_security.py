"""Pods of Argus are taken at the strictest level of Pod Security, those that plan as well."""

from typing import Any

import pytest

from stage.control_plane import ControlPlane
from stage.operator_process import Chart
from stage.runs import COMPONENT_LABEL, RUN_LABEL
from stage.simulated import make_run, pods_path, runs_path
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
    runs, name = runs_path(NAMESPACE), f"run-{policy.lower()}"
    selector = f"{RUN_LABEL}={name},{COMPONENT_LABEL}={component}"

    def pods() -> list[dict[str, Any]]:
        return api.items(pods_path(NAMESPACE), labelSelector=selector)

    with chart.operator():
        api.create(runs, make_run(name, validation=policy))
        until(pods, 30, f"a {component} in a restricted namespace")
        api.delete(f"{runs}/{name}")
