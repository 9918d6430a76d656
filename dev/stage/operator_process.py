"""The operator as a process of this machine, against a cluster of the API-only size.

It has what its pod would have and no more: the chart's account with exactly the chart's rights,
the chart's configuration, the variables of its Deployment. Only its probes are moved to a free
port of loopback.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stage.api import JsonObject
from stage.control_plane import ControlPlane
from stage.kubectl import ROOT
from stage.waiting import until

NAMESPACE = "argus-system"
ACCOUNT = "argus-operator"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
"""As whom the API server knows the operator."""
COMMAND = (sys.executable, "-m", "argus_operator")
_TOKEN_SECONDS = 24 * 3600
_EVERYWHERE = re.compile(r"^:(\d+)$")
DEFAULTS: Mapping[str, object] = {
    "image": "registry.example/trainer:1",
    "checkpoint": {"uri": "s3://bucket/checkpoints"},
    "output": {"uri": "s3://bucket/models"},
    "storage": {"endpoint": "http://store.example:9000", "secretRef": {"name": "argus-storage"}},
}
"""Chart values that every run needs; no pod of this size looks for what they name."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The installed chart, but for its Deployment."""

    plane: ControlPlane
    deployment: JsonObject
    configuration: Mapping[str, str]
    """Files of the ConfigMap, by name."""
    namespace: str = NAMESPACE

    @classmethod
    def install(cls, plane: ControlPlane, namespace: str = NAMESPACE, **values: object) -> "Chart":
        """Renders the chart with these values and applies all of it that is no Deployment.

        Raises CommandFailed.
        """
        chosen = {"clusterName": "simulated", "defaults": DEFAULTS, **values}
        command = ("helm", "template", "argus", "charts/argus", "--namespace", namespace)
        rendered = plane.call(*command, "--values", "-", stdin=json.dumps(chosen))
        documents = [document for document in yaml.safe_load_all(rendered) if document]
        namespaces = {namespace, *(d["metadata"].get("namespace", namespace) for d in documents)}
        for name in sorted(namespaces):
            if plane.api().find(f"/api/v1/namespaces/{name}") is None:
                plane.make_namespace(name)
        rest = [document for document in documents if document["kind"] != "Deployment"]
        # As Helm would: server-side, because the CRD is too long for an annotation.
        apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        plane.kubectl(*apply, stdin=yaml.safe_dump_all(rest))
        crds = [d["metadata"]["name"] for d in rest if d["kind"] == "CustomResourceDefinition"]
        plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", *crds)
        return cls(
            plane=plane,
            deployment=next(d for d in documents if d["kind"] == "Deployment"),
            configuration=next(d["data"] for d in rest if d["kind"] == "ConfigMap"),
            namespace=namespace,
        )

    @property
    def container(self) -> JsonObject:
        found: JsonObject = self.deployment["spec"]["template"]["spec"]["containers"][0]
        return found

    def kubeconfig(self, path: Path, server: str | None = None) -> Path:
        """Writes a kubeconfig of the operator's account; `server`: past a proxy, for example."""
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{ACCOUNT}"
        wish = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _TOKEN_SECONDS},
        }
        token = self.plane.api().create(f"{account}/token", wish)["status"]["token"]
        cluster: JsonObject = {"server": server or self.plane.addresses.api_server}
        if cluster["server"].startswith("https:"):
            cluster["certificate-authority"] = str(self.plane.places.authority)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "operator",
            "clusters": [{"name": "operator", "cluster": cluster}],
            "users": [{"name": "operator", "user": {"token": token}}],
            "contexts": [
                {"name": "operator", "context": {"cluster": "operator", "user": "operator"}}
            ],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        return path

    @contextmanager
    def operator(
        self,
        name: str = "operator-1",
        *,
        server: str | None = None,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = COMMAND,
        is_ready: bool = True,
    ) -> Iterator["OperatorProcess"]:
        """Starts an operator and waits, if asked, until it is ready; nothing of it stays.

        `name` stands for the pod's name, `environment` is added to the Deployment's.
        """
        process = OperatorProcess(self, name, server, dict(environment or {}), tuple(command))
        process.start()
        try:
            if is_ready:
                process.wait_ready()
            yield process
        finally:
            process.kill()


@dataclass
class OperatorProcess:
    """One replica; it may be killed and started again."""

    chart: Chart
    name: str
    server: str | None
    extra: dict[str, str]
    command: tuple[str, ...]
    _process: subprocess.Popen[bytes] | None = None
    _port_of: dict[int, int] = field(default_factory=dict)
    """Free port of this machine for each port of the container."""

    def start(self) -> None:
        """Starts it, without waiting for anything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for file, text in self.chart.configuration.items():
            (self.folder / file).write_text(text)
        kubeconfig = self.chart.kubeconfig(self.folder / "kubeconfig", self.server)
        self._port_of.clear()
        own = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT / 'contract'}:{ROOT / 'operator'}",
            "HOSTNAME": self.name,
            "KUBECONFIG": str(kubeconfig),
        }
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env={**own, **self._variables(), **self.extra},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def rss_mib(self) -> float:
        """Memory that it has now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def is_ready(self) -> bool:
        """Says whether it answers the readiness probe of its Deployment."""
        return self.answers("readinessProbe")

    def answers(self, probe: str) -> bool:
        """Says whether a probe of the Deployment (livenessProbe, ...) gets a 200."""
        get = self.chart.container[probe]["httpGet"]
        ports = {port["name"]: port["containerPort"] for port in self.chart.container["ports"]}
        port = self._port_of.get(ports.get(get["port"], get["port"]))
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}{get['path']}", timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_ready(self, timeout: float = 60) -> None:
        """Raises TookTooLong, with the end of its log."""
        until(
            lambda: not self.is_running or self.is_ready(),
            timeout,
            f"{self.name} to be ready:\n{self.log()[-2000:]}",
        )
        if not self.is_running:
            raise ChildProcessError(f"{self.name} ended by itself:\n{self.log()[-2000:]}")

    def stop(self, timeout: float = 30) -> int:
        """Sends SIGTERM, as a kubelet would; returns the exit status."""
        assert self._process is not None, "it was never started"
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout)

    def kill(self) -> None:
        """Sends SIGKILL; one that has ended is fine."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """Returns all that it has written, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def folder(self) -> Path:
        return self.chart.plane.state / "operators" / self.name

    @property
    def log_file(self) -> Path:
        return self.chart.plane.places.logs / f"{self.name}.log"

    def _variables(self) -> dict[str, str]:
        mounts = self.chart.container.get("volumeMounts", [])
        mounted = next((m["mountPath"] for m in mounts if m["name"] == "configuration"), None)
        found = {}
        for entry in self.chart.container.get("env", []):
            value = entry.get("value") or self._field(entry)
            if mounted and value.startswith(mounted):
                value = f"{self.folder}{value.removeprefix(mounted)}"
            found[entry["name"]] = _EVERYWHERE.sub(self._listen, value)
        return found

    def _field(self, entry: Mapping[str, Any]) -> str:
        field_of_pod = {
            "metadata.name": self.name,
            "metadata.namespace": self.chart.namespace,
            "metadata.uid": f"{self.name}-{time.time_ns()}",
            "spec.nodeName": "sim-1",
            "status.podIP": "127.0.0.1",
        }
        return field_of_pod[entry["valueFrom"]["fieldRef"]["fieldPath"]]

    def _listen(self, match: re.Match[str]) -> str:
        port = self._port_of.setdefault(int(match.group(1)), _free_port())
        return f"127.0.0.1:{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
