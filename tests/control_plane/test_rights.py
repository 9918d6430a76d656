"""The chart gives the operator what it uses, and no more."""

from collections.abc import Iterable

import pytest

from stage.api import JsonObject
from stage.control_plane import ControlPlane, end_of_record, refused, requests_of
from stage.operator_process import ACCOUNT, NAMESPACE, USER, Chart
from stage.simulated import jobs_path, make_run, runs_path, wait_phase
from stage.waiting import until

pytestmark = pytest.mark.control_plane

RBAC = "/apis/rbac.authorization.k8s.io/v1"
Right = tuple[str, str, str]
"""Verb, API group and resource."""
USED_ELSEWHERE: dict[Right, str] = {
    ("delete", "", "pods"): "cluster/test_faults.py: a node that does not come back",
    ("patch", "coordination.k8s.io", "leases"): "test_scopes.py: a second installation",
}


def rights_of(rules: Iterable[JsonObject]) -> set[Right]:
    return {
        (verb, group, resource)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def rights_that_are_given(plane: ControlPlane) -> set[Right]:
    """Rules of every role that is bound to the operator's account."""
    given: set[Right] = set()
    api = plane.api()
    for kind in ("clusterrolebindings", "rolebindings"):
        for binding in api.items(f"{RBAC}/{kind}"):
            subjects = binding.get("subjects") or []
            if any((s.get("namespace"), s["name"]) == (NAMESPACE, ACCOUNT) for s in subjects):
                role, where = binding["roleRef"], binding["metadata"].get("namespace")
                is_own = role["kind"] == "Role"
                path = f"{RBAC}/namespaces/{where}/roles" if is_own else f"{RBAC}/clusterroles"
                given |= rights_of(api.get(f"{path}/{role['name']}")["rules"])
    return given


def rights_that_are_used(requests: Iterable[JsonObject]) -> set[Right]:
    used = set()
    for entry in requests:
        if about := entry["objectRef"]:
            part = f"/{about['subresource']}" if "subresource" in about else ""
            resource = f"{about.get('resource', '')}{part}"
            used.add((entry["verb"], about.get("apiGroup", ""), resource))
    return used


def test_every_right_is_used_and_none_is_missing(plane: ControlPlane, chart: Chart) -> None:
    plane.make_namespace("rights")
    api, runs, jobs = plane.api(), runs_path("rights"), jobs_path("rights")
    # As at the first start: Leases that other operators left would not be made.
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
    for name in ("argus-operator", "argus-scope"):
        api.delete(f"{leases}/{name}")
    before = end_of_record(plane)
    with chart.operator("entitled") as operator:
        api.create(runs, make_run("whole", runs_for="1s"))
        wait_phase(api, f"{runs}/whole", "Succeeded")
        # Its Job and pod are taken away twice, so that the same is told twice.
        api.create(runs, make_run("asleep"))
        for _ in range(2):
            wait_phase(api, f"{runs}/asleep", "Starting", "Running")
            api.patch(f"{runs}/asleep", {"spec": {"suspend": True}})
            wait_phase(api, f"{runs}/asleep", "Suspended")
            api.patch(f"{runs}/asleep", {"spec": {"suspend": False}})
        # A Job that somebody else deletes is asked for once more.
        api.create(runs, make_run("robbed"))
        wait_phase(api, f"{runs}/robbed", "Starting", "Running")
        api.delete(f"{jobs}/{api.get(f'{runs}/robbed')['status']['jobName']}")
        until(
            lambda: api.get(f"{runs}/robbed")["status"]["jobName"].endswith("-2"),
            60,
            "the next Job of the robbed run",
        )
        # A Job that may have no pod: why not is asked of the cluster's events.
        quota = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}}
        plane.make_namespace("rights-full")
        api.create("/api/v1/namespaces/rights-full/resourcequotas", quota)
        full = runs_path("rights-full")
        api.create(full, make_run("outside"))
        until(
            lambda: "exceeded quota" in str(api.get(f"{full}/outside").get("status")),
            60,
            "the quota to be named",
        )
        assert operator.stop() == 0
    asked = requests_of(plane, USER, after=before)
    assert refused(asked) == []
    given = rights_that_are_given(plane)
    assert given - rights_that_are_used(asked) == USED_ELSEWHERE.keys()


def test_no_right_reaches_secrets_containers_or_everything(
    plane: ControlPlane, chart: Chart
) -> None:
    given = rights_that_are_given(plane)
    assert not [right for right in given if "*" in right]
    resources = {resource for _, _, resource in given}
    assert not resources & {"secrets", "pods/exec", "pods/attach", "pods/log", "nodes", "roles"}
    told = plane.kubectl("auth", "can-i", "--list", f"--as={USER}", "-n", chart.namespace)
    assert "argustrainingjobs" in told
    assert "secrets" not in told
    assert "exec" not in told
