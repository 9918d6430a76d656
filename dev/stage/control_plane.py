"""A cluster of the API-only size in the hands of a test: parts, nodes, pods and how they end.

Each has a state folder and ports of its own, so that several may stand on one machine, beside the
whole cluster too. Everything listens on loopback, the pods' addresses included.
"""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.addresses import Addresses, addresses_of
from cluster.places import Places, Size
from stage.api import Api, JsonObject
from stage.kubectl import ROOT, CommandFailed
from stage.waiting import until


@dataclass(frozen=True)
class ControlPlane:
    """A cluster by its state folder; nothing of it need run yet."""

    state: Path

    @classmethod
    @contextmanager
    def running(cls, state: Path) -> Iterator["ControlPlane"]:
        """Starts one with a single node, and takes it down at the end."""
        plane = cls(state)
        plane.up()
        try:
            plane.make_nodes(1)
            yield plane
        finally:
            plane.down()

    # --- the cluster ----------------------------------------------------------------------

    def up(self) -> None:
        """Starts what does not run; after a crash that is what died."""
        self._cluster("up")

    def down(self) -> None:
        self._cluster("down")

    def signal(self, part: str, name: str) -> None:
        """Sends etcd, kube-apiserver, kube-controller-manager, kube-scheduler or kwok a signal."""
        self._cluster("signal", part, name)

    @contextmanager
    def crashed(self, part: str) -> Iterator[None]:
        """Kills a part; starts it again at the end."""
        self.signal(part, "KILL")
        try:
            yield
        finally:
            self.up()

    @property
    def places(self) -> Places:
        return Places.from_environment(self._environment(), Size.API)

    @property
    def addresses(self) -> Addresses:
        """Where its parts listen, and which addresses its pods get."""
        return addresses_of(self.places)

    # --- requests -------------------------------------------------------------------------

    def api(self) -> Api:
        """Returns a new connection of the administrator."""
        return Api(self.addresses.host, self.addresses.api_server_port, self.tls())

    def tls(self) -> ssl.SSLContext:
        """Returns the administrator's certificate, for a client of a test's own."""
        folder = self.places.certificates
        context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        return context

    def call(self, *command: str, stdin: str | None = None) -> str:
        """Runs kubectl, helm, ...; returns what it printed. Raises CommandFailed."""
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self._environment(),
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"{' '.join(command[:4])} ...\n{done.stdout}{done.stderr}")
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.call("kubectl", *arguments, stdin=stdin)

    # --- nodes and pods -------------------------------------------------------------------

    def make_nodes(self, count: int, resources: Mapping[str, str] | None = None) -> None:
        """Makes nodes sim-1, sim-2, ... and waits until they are ready.

        `resources`: beside a thousand cores, a TiB and 100,000 pods; GPUs, for example.
        """
        size = {"cpu": "1000", "memory": "1Ti", "pods": "100000", **(resources or {})}
        api = self.api()
        for number in range(1, count + 1):
            node = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": f"sim-{number}"},
                "status": {"capacity": size, "allocatable": size},
            }
            api.create("/api/v1/nodes", node)
        until(lambda: _num_ready(api) >= count, 60, f"{count} nodes to be ready")

    def make_namespace(self, name: str) -> None:
        """Makes a namespace and waits for the account that its pods need."""
        api = self.api()
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        api.create("/api/v1/namespaces", document)
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        until(lambda: api.find(account), 30, f"the account of namespace {name}")

    def end_pod(self, namespace: str, name: str, code: int = 0, message: str = "") -> None:
        """Lets every container of a running pod end, with this exit code and these last words."""
        api = self.api()
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        status = api.get(path)["status"]
        containers = [_ended(entry, code, message) for entry in status["containerStatuses"]]
        phase = "Failed" if code else "Succeeded"
        patch = {"status": {"phase": phase, "containerStatuses": containers}}
        api.patch(f"{path}/status", patch)

    def _cluster(self, *arguments: str) -> None:
        command, *rest = arguments
        self.call(sys.executable, "-m", "cluster", command, "--size", "api", *rest)

    def _environment(self) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(ROOT / "dev"),
            "ARGUS_DEV_API_STATE": str(self.state),
        }
        places = Places.from_environment({**os.environ, **own}, Size.API)
        path = f"{places.programs}:{os.environ['PATH']}"
        return {**os.environ, **own, "KUBECONFIG": str(places.admin_kubeconfig), "PATH": path}


def _num_ready(api: Api) -> int:
    conditions = [node["status"].get("conditions", []) for node in api.items("/api/v1/nodes")]
    ready = [c for found in conditions for c in found if c["type"] == "Ready"]
    return sum(condition["status"] == "True" for condition in ready)


def _ended(container: JsonObject, code: int, message: str) -> dict[str, Any]:
    started = container["state"]["running"]["startedAt"]
    terminated = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "message": message,
        "startedAt": started,
        "finishedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return {**container, "ready": False, "started": False, "state": {"terminated": terminated}}


def requests_of(plane: ControlPlane, user: str, after: int = 0) -> list[JsonObject]:
    """Returns the API server's own record of the requests of a service account.

    `user`: for example system:serviceaccount:argus-system:argus-operator.
    `after`: where in the record to begin, as `end_of_record` told when a test began.
    What asks for no object (such as which API groups there are) has an empty `objectRef`.
    """
    with plane.places.audit_log.open("rb") as record:
        record.seek(after)
        # The last line may not be written to its end yet.
        whole = (line for line in record if line.endswith(b"\n"))
        entries = [{"objectRef": {}} | json.loads(line) for line in whole]
    return [entry for entry in entries if entry["user"]["username"] == user]


def end_of_record(plane: ControlPlane) -> int:
    """Returns how far, in bytes, the record of `requests_of` reaches now."""
    return plane.places.audit_log.stat().st_size


def refused(requests: Iterable[JsonObject]) -> list[tuple[str, str]]:
    """Returns the verb and address of those that rights did not allow.

    An API server that has just been started refuses everything until it has read its roles, so
    the record of a whole cluster's life holds such lines after each of its crashes.
    """
    forbidden = [entry for entry in requests if entry["responseStatus"]["code"] == 403]
    return [(entry["verb"], entry["requestURI"]) for entry in forbidden]
