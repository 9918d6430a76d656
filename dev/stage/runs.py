"""One ArgusTrainingJob under observation: apply it, follow it, disturb it."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stage.kubectl import CommandFailed, apply, get, kubectl
from stage.processes import processes_with
from stage.waiting import TookTooLong

RESOURCE = "argustrainingjobs.argus.tachyon.dev"
RUN_LABEL, COMPONENT_LABEL = "argus.tachyon.dev/run", "argus.tachyon.dev/component"
TRAINER, PLANNER = "trainer", "planner"
TERMINAL = ("Succeeded", "Failed")


def step(status: dict[str, Any]) -> int:
    """Returns the optimizer steps that are done."""
    return int(status.get("progress", {}).get("step", 0))


def saved_step(status: dict[str, Any]) -> int:
    """Returns the step of the newest durable state; 0 before there is one."""
    return int(status.get("checkpoint", {}).get("step", 0))


def measured_at(status: dict[str, Any]) -> datetime:
    """Returns when the trainer was where `step` says. Raises KeyError before it said so."""
    return datetime.fromisoformat(status["progress"]["lastUpdateTime"])


@dataclass(frozen=True)
class Run:
    """A run by name; every question goes to the API server."""

    namespace: str
    name: str

    @classmethod
    def apply(cls, namespace: str, document: dict[str, Any]) -> "Run":
        """Applies a manifest into a namespace."""
        metadata = {**document["metadata"], "namespace": namespace}
        apply({**document, "metadata": metadata})
        return cls(namespace, metadata["name"])

    def resource(self) -> dict[str, Any]:
        """Returns the resource as it is now."""
        found: dict[str, Any] = get(RESOURCE, self.name, "-n", self.namespace)
        return found

    def status(self) -> dict[str, Any]:
        """Returns the status as it is now; empty before the operator wrote one."""
        status: dict[str, Any] = self.resource().get("status", {})
        return status

    def pods(self, component: str = TRAINER) -> list[dict[str, Any]]:
        """Returns the run's pods of one kind, oldest first."""
        pods: list[dict[str, Any]] = self._children("pods", component)
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def jobs(self, component: str = TRAINER) -> list[dict[str, Any]]:
        """Returns the run's Jobs of one kind."""
        return self._children("jobs", component)

    def _children(self, kind: str, component: str) -> list[dict[str, Any]]:
        selector = f"{RUN_LABEL}={self.name},{COMPONENT_LABEL}={component}"
        found: list[dict[str, Any]] = get(kind, "-n", self.namespace, "-l", selector)["items"]
        return found

    def watch(self, timeout: float, interval: float = 0.7) -> Iterator[dict[str, Any]]:
        """Yields the status until `timeout` seconds have passed, then raises TookTooLong."""
        end = time.monotonic() + timeout
        status: dict[str, Any] = {}
        while time.monotonic() < end:
            status = self.status()
            yield status
            time.sleep(interval)
        raise TookTooLong(f"{self.name} after {timeout:.0f} s: {json.dumps(status, indent=1)}")

    def wait(self, condition: Callable[[dict[str, Any]], object], timeout: float) -> dict[str, Any]:
        """Returns the first status for which `condition` holds.

        Raises TookTooLong after `timeout` seconds, or when the run has ended and cannot
        fulfil it any more.
        """
        for status in self.watch(timeout):
            if condition(status):
                return status
            if status.get("phase") in TERMINAL:
                raise TookTooLong(f"{self.name} ended: {json.dumps(status, indent=1)}")
        raise AssertionError("unreachable: watch raises")

    def wait_standstill(self, seconds: float, timeout: float) -> dict[str, Any]:
        """Returns the status once its step has not changed for so many seconds."""
        seen, since = -1, time.monotonic()
        for status in self.watch(timeout):
            if step(status) != seen:
                seen, since = step(status), time.monotonic()
            elif time.monotonic() - since >= seconds:
                return status
        raise AssertionError("unreachable: watch raises")

    def wait_end(self, timeout: float) -> dict[str, Any]:
        """Returns the status of the ended run."""
        return self.wait(lambda status: status.get("phase") in TERMINAL, timeout)

    def running_pod(self, component: str = TRAINER) -> str:
        """Returns the name of the pod of this kind that runs now; empty when none does."""
        for pod in reversed(self.pods(component)):
            if (
                pod["status"].get("phase") == "Running"
                and "deletionTimestamp" not in pod["metadata"]
            ):
                return str(pod["metadata"]["name"])
        return ""

    def evict(self, pod: str) -> None:
        """Evicts a pod through the eviction API, as a drain does."""
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

    def trainer(self, pod: str) -> int:
        """Returns the process id of a pod's trainer, as the node sees it."""
        for pid in processes_with("ARGUS_POD_NAME", pod):
            return pid
        raise CommandFailed(f"no trainer process of pod {pod} found on this machine")

    def kill(self, pod: str) -> None:
        """Sends SIGKILL to the trainer of a pod, from the node: it cannot say a word."""
        os.kill(self.trainer(pod), signal.SIGKILL)

    def log(self, pod: str) -> str:
        """Returns the log of a pod."""
        return kubectl("logs", "-n", self.namespace, pod)

    def delete(self) -> None:
        """Deletes the resource and waits until its children are gone."""
        kubectl("delete", RESOURCE, self.name, "-n", self.namespace, "--ignore-not-found")
        selector = f"{RUN_LABEL}={self.name}"
        kubectl(
            "wait", "--for=delete", "pods", "-n", self.namespace, "-l", selector, "--timeout=150s"
        )
