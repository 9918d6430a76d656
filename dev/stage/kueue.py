"""Kueue's side of a queue, played: its own definition of a Workload, and its controller's writes.

Kueue's webhook makes queued Jobs suspended; its controller gives each a Workload, writes there
why it waits, and starts or stops the Job by `spec.suspend`. Here a test says when.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from stage.kubectl import CommandFailed
from stage.waiting import until

MODULE = "sigs.k8s.io/kueue@v0.17.0"
MODULE_SUM = "h1:7hzb38M4eKGzYW+CFv2s1L+swzzacUCHOCXxZmAV90I="
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
WORKLOADS = "workloads.kueue.x-k8s.io"
POLICY = "queued-jobs-are-made-suspended"


class Kubectl(Protocol):
    def __call__(self, *arguments: str, stdin: str | None = None) -> str: ...


@dataclass(frozen=True)
class Kueue:
    """The controller's hands on one cluster."""

    kubectl: Kubectl

    @classmethod
    @contextmanager
    def installed(cls, kubectl: Kubectl) -> Iterator["Kueue"]:
        """Installs the definition and what stands for the webhook; removes both at the end."""
        kueue = cls(kubectl)
        kubectl("apply", "--server-side", "-f", str(_definition()))
        until(kueue._workloads_are_served, 60, "Kueue's Workloads to be served")
        for document in _webhook():
            kubectl("apply", "-f", "-", stdin=json.dumps(document))
        try:
            until(kueue._webhook_works, 60, "queued Jobs to be made suspended")
            yield kueue
        finally:
            for document in _webhook():
                kubectl("delete", document["kind"], POLICY)
            kubectl("delete", "crd", WORKLOADS)

    def hold(self, namespace: str, job: str, reason: str, message: str) -> None:
        """Says of a Job, which stays suspended, why it has no quota."""
        owner = json.loads(self.kubectl("get", "job", job, "-n", namespace, "-o", "json"))
        uid = owner["metadata"]["uid"]
        workload = {
            "apiVersion": "kueue.x-k8s.io/v1beta2",
            "kind": "Workload",
            "metadata": {
                "name": f"job-{job}",
                "namespace": namespace,
                "labels": {"kueue.x-k8s.io/job-uid": uid},
                "ownerReferences": [
                    {
                        "apiVersion": "batch/v1",
                        "kind": "Job",
                        "name": job,
                        "uid": uid,
                        "controller": True,
                    }
                ],
            },
            "spec": {
                "queueName": owner["metadata"]["labels"][QUEUE_LABEL],
                "podSets": [{"name": "main", "count": 1, "template": _template(owner)}],
            },
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(workload))
        self._say(namespace, job, _condition("QuotaReserved", "False", reason, message))

    def admit(self, namespace: str, job: str) -> None:
        """Gives a Job its quota and lets it start."""
        reserved = _condition("QuotaReserved", "True", "QuotaReserved", "Quota reserved")
        admitted = _condition("Admitted", "True", "Admitted", "The workload is admitted")
        self._say(namespace, job, reserved, admitted)
        self._suspend(namespace, job, False)

    def preempt(self, namespace: str, job: str, message: str) -> None:
        """Takes the quota back for a workload of a higher priority."""
        self._say(
            namespace,
            job,
            _condition("QuotaReserved", "False", "Pending", message),
            _condition("Evicted", "True", "Preempted", message),
            _condition("Admitted", "False", "NoReservation", "The workload has no reservation"),
        )
        self._suspend(namespace, job, True)

    def _say(self, namespace: str, job: str, *conditions: dict[str, str]) -> None:
        patch = json.dumps({"status": {"conditions": conditions}})
        place = ("-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
        self.kubectl("patch", WORKLOADS, f"job-{job}", *place)

    def _suspend(self, namespace: str, job: str, suspended: bool) -> None:
        patch = json.dumps({"spec": {"suspend": suspended}})
        self.kubectl("patch", "job", job, "-n", namespace, "--type=merge", "-p", patch)

    def _workloads_are_served(self) -> bool:
        return WORKLOADS in self.kubectl(
            "api-resources", "--api-group=kueue.x-k8s.io", "-o", "name"
        )

    def _webhook_works(self) -> bool:
        template = {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "nothing"}]}
        }
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "queued", "namespace": "default", "labels": {QUEUE_LABEL: "q"}},
            "spec": {"template": template},
        }
        made = self.kubectl(
            "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(job)
        )
        return bool(json.loads(made)["spec"].get("suspend"))


def _definition() -> Path:
    """Returns the file of Kueue's own definition, from its Go module of this very content."""
    command = ["go", "mod", "download", "-json", MODULE]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    found = json.loads(done.stdout or "{}")
    if found.get("Sum") != MODULE_SUM:
        raise CommandFailed(f"{MODULE}: {found.get('Sum')} {found.get('Error', done.stderr)}")
    return Path(found["Dir"]) / "config/components/crd/bases/kueue.x-k8s.io_workloads.yaml"


def _webhook() -> list[dict[str, Any]]:
    """Returns what makes queued Jobs suspended, as Kueue's webhook does."""
    api = "admissionregistration.k8s.io/v1"
    jobs = {
        "apiGroups": ["batch"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["jobs"],
    }
    queued = f"has(object.metadata.labels) && '{QUEUE_LABEL}' in object.metadata.labels"
    return [
        {
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": POLICY},
            "spec": {
                "matchConstraints": {"resourceRules": [jobs]},
                "matchConditions": [{"name": "queued", "expression": queued}],
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "mutations": [
                    {
                        "patchType": "ApplyConfiguration",
                        "applyConfiguration": {
                            "expression": "Object{spec: Object.spec{suspend: true}}"
                        },
                    }
                ],
            },
        },
        {
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": POLICY},
            "spec": {"policyName": POLICY},
        },
    ]


def _template(job: dict[str, Any]) -> dict[str, Any]:
    """Returns the pod of a Job as it was asked for, without what the Job controller adds."""
    template: dict[str, Any] = job["spec"]["template"]
    return {"spec": template["spec"]}


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }
