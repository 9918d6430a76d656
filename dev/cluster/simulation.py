"""What kwok makes of nodes and pods, and which requests the API server writes down.

A node is ready at once and has what its object says; kwok renews its lease. A pod that was given a
node runs at once, on a loopback address of its own, and goes on until somebody ends it: the
annotation `RUNS_FOR` ("20s") lets it succeed by itself, and whoever writes the pod's status
(`stage.control_plane`) decides how it ends. A deleted pod is gone at once.
"""

from __future__ import annotations

RUNS_FOR = "argus.dev/runs-for"
OPERATORS = ("system:serviceaccounts:argus-system", "system:serviceaccounts:argus-named")
"""The groups of accounts whose requests are written down."""

_JsonObject = dict[str, object]

_READY = """\
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
phase: Running
"""
_STARTED = """\
{{ $now := Now }}
conditions:
{{ range $type := list "Initialized" "PodReadyToStartContainers" "ContainersReady" "Ready" }}
- {type: {{ $type }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
phase: Running
startTime: {{ $now | Quote }}
"""
_SUCCEEDED = """\
{{ $now := Now }}
{{ $started := .status.startTime }}
conditions:
{{ range $type := list "ContainersReady" "Ready" }}
- {type: {{ $type }}, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $started | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
phase: Succeeded
"""


def kwok_documents() -> list[_JsonObject]:
    """How kwok works, and what becomes of a node and of a pod."""
    deletion = ".metadata.deletionTimestamp"
    runs_for = f'.metadata.annotations["{RUNS_FOR}"]'
    stays = _where(deletion, "DoesNotExist")
    # A configuration that says one of these has to say all.
    options = {
        "nodeLeaseDurationSeconds": 40,
        "nodeLeaseParallelism": 4,
        "nodePlayStageParallelism": 4,
        "podPlayStageParallelism": 16,
        "podsOnNodeSyncParallelism": 4,
    }
    return [
        {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "options": options,
        },
        _stage(
            "Node",
            "node-starts",
            [_where(".status.phase", "NotIn", "Running")],
            next={"statusTemplate": _READY},
        ),
        _stage(
            "Pod",
            "pod-starts",
            [stays, _where(".status.podIP", "DoesNotExist")],
            next={"statusTemplate": _STARTED},
        ),
        _stage(
            "Pod",
            "pod-succeeds",
            [stays, _where(".status.phase", "In", "Running"), _where(runs_for, "Exists")],
            delay={"durationMilliseconds": 0, "durationFrom": {"expressionFrom": runs_for}},
            next={"statusTemplate": _SUCCEEDED},
        ),
        _stage(
            "Pod",
            "pod-leaves",
            [_where(deletion, "Exists")],
            next={"finalizers": {"empty": True}, "delete": True},
        ),
    ]


def _stage(kind: str, name: str, conditions: list[_JsonObject], **rest: _JsonObject) -> _JsonObject:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": conditions},
            **rest,
        },
    }


def _where(key: str, operator: str, *values: str) -> _JsonObject:
    condition: _JsonObject = {"key": key, "operator": operator}
    return {**condition, "values": list(values)} if values else condition


def audit_policy() -> _JsonObject:
    """One line for each request of an operator, none for the rest of the cluster."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "userGroups": [*OPERATORS]}, {"level": "None"}],
    }
