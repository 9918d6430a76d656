"""What a kubelet and a user do around operators: start what ended, and wait for runs to end."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stage.api import ApiRefused, JsonObject
from stage.control_plane import ControlPlane, requests_of
from stage.operator_process import USER, OperatorProcess
from stage.runs import COMPONENT_LABEL, RUN_LABEL, TERMINAL, TRAINER
from stage.simulated import jobs_path, make_run, runs_path
from stage.waiting import TookTooLong

LOOK_SECONDS = 0.3
PROBE_FAILURES = 3
PROBE_SECONDS = 15.0
"""As in the chart's Deployment."""


@dataclass
class Kubelet:
    """Starts operators again that have ended, or that fail their liveness probe."""

    operators: list[OperatorProcess]
    restarts: int = 0
    _probe_at: float = 0.0
    _failures: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        for operator in self.operators:
            if not operator.is_running:
                self.restarts += 1
                self._failures[operator.name] = 0
                operator.start()
        if time.monotonic() < self._probe_at:
            return
        self._probe_at = time.monotonic() + PROBE_SECONDS
        for operator in self.operators:
            well = not operator.answers("startupProbe") or operator.answers("livenessProbe")
            self._failures[operator.name] = 0 if well else self._failures.get(operator.name, 0) + 1
            if self._failures[operator.name] >= PROBE_FAILURES:
                operator.kill()


@dataclass(frozen=True)
class Runs:
    """The runs of one namespace."""

    plane: ControlPlane
    namespace: str

    @property
    def path(self) -> str:
        return runs_path(self.namespace)

    def create(self, name: str, *, validation: str = "Off") -> JsonObject:
        return self.plane.api().create(self.path, make_run(name, validation=validation))

    def delete(self, name: str) -> None:
        self.plane.api().delete(f"{self.path}/{name}")

    def get(self, name: str) -> JsonObject:
        return self.plane.api().get(f"{self.path}/{name}")

    def wait_end(self, names: Iterable[str], kubelet: Kubelet, timeout: float) -> None:
        """Returns once all have ended. Raises TookTooLong, with those that have not."""
        end, api = time.monotonic() + timeout, self.plane.api()
        waiting = set(names)
        while waiting:
            kubelet.look()
            try:
                waiting -= {run["metadata"]["name"] for run in api.items(self.path) if _ended(run)}
            except (OSError, ApiRefused):  # the API server is what fails
                api = self.plane.api()
            if waiting and time.monotonic() > end:
                raise TookTooLong(self._story_of(waiting, kubelet, timeout))
            time.sleep(LOOK_SECONDS)

    def trainer_jobs(self, name: str) -> list[JsonObject]:
        """Returns the Jobs of a run that train."""
        own = f"{RUN_LABEL}={name},{COMPONENT_LABEL}={TRAINER}"
        return self.plane.api().items(jobs_path(self.namespace), labelSelector=own)

    def created_jobs(self) -> list[str]:
        """Returns the name of each Job that the operator made, as often as it made it."""
        return [
            entry["objectRef"]["name"]
            for entry in requests_of(self.plane, USER)
            if entry["verb"] == "create"
            and entry["responseStatus"]["code"] == 201
            and entry["objectRef"].get("resource") == "jobs"
            and entry["objectRef"].get("namespace") == self.namespace
            and "dryRun" not in entry["requestURI"]
        ]

    def end_of(self, name: str) -> JsonObject:
        """Returns what a run came to: all that must not depend on what happened around it."""
        status = self.get(name)["status"]
        job = status.get("jobName", "")
        return {
            "phase": status["phase"],
            "reason": status["reason"],
            "conditions": sorted(
                (c["type"], c["status"], c["reason"])
                for c in status["conditions"]
                if c["type"] != "DataValidated"  # the verdict of another Job
            ),
            "attempts": [
                (a["number"], a["endReason"], a.get("exitCode")) for a in status.get("attempts", [])
            ],
            "disruptions": status.get("disruptions", {}).get("count", 0),
            "step": status.get("progress", {}).get("step"),
            "artifact": status.get("artifact"),
            "generation": job.rpartition("-")[2],
            "jobs": len(self.trainer_jobs(name)),
        }

    def _story_of(self, waiting: Iterable[str], kubelet: Kubelet, timeout: float) -> str:
        lines = [f"waited {timeout:.0f} s for {', '.join(sorted(waiting))} to end"]
        lines += [json.dumps(self.get(name).get("status", {})) for name in sorted(waiting)[:2]]
        lines += [operator.log()[-3000:] for operator in kubelet.operators]
        return "\n".join(lines)


def _ended(run: dict[str, Any]) -> bool:
    return run.get("status", {}).get("phase") in TERMINAL
