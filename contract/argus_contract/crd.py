"""Renders the CustomResourceDefinition from the models: one source of truth.

pydantic's JSON schema is turned into the structural subset that Kubernetes takes:
references are put in place, `null` alternatives dropped, titles left out. Rules that look
at two fields are CEL here, beside the validators of `spec.py` and `data_spec.py` that say the
same; a test holds them against each other on a real API server.
"""

from typing import Any

import yaml

from argus_contract import names
from argus_contract.data_spec import NO_METRICS
from argus_contract.pod_rules import POD_RULES
from argus_contract.spec import GPU_SLICE, GPU_SUFFIXES, ArgusTrainingJobSpec
from argus_contract.status import ArgusTrainingJobStatus

Schema = dict[str, Any]

WAY_OUT = (
    "make a new ArgusTrainingJob, or delete this one first (checkpoints and bundles in the "
    "bucket stay)"
)

FROZEN_FIELDS = (
    "runToken",
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "data",
    "model",
    "training",
    "podOverrides",
    "storage",
    "checkpoint.uri",
    "checkpoint.everyChunks",
    "checkpoint.keepLast",
    "checkpoint.resumePolicy",
    "output",
    "terminationGracePeriodSeconds",
)
"""Fields that may not change. `backoffLimit`, `progressDeadlineSeconds` and
`checkpoint.periodSeconds` may: they take effect on the next Job of the run; limits and times that
the operator watches, at once."""

SUSPENDED_FIELDS = ("resourcesPerNode", "scheduling")
"""Fields that may change while the run is suspended, and only then."""

RAISED_FIELDS = ("preRunningDeadlineSeconds", "activeDeadlineSeconds")
"""Fields that may be raised or removed; absent is no limit."""

KEPT_KEYWORDS = frozenset(
    {
        "default",
        "description",
        "enum",
        "format",
        "maximum",
        "maxItems",
        "maxLength",
        "maxProperties",
        "minimum",
        "minItems",
        "minLength",
        "pattern",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-preserve-unknown-fields",
    }
)
"""Keywords that mean the same in pydantic's JSON schema and in a structural schema."""


def _is_long(quantity: str) -> str:
    """Returns the condition that a quantity has an exponent of more digits than its pattern takes.

    Rules are asked although a pattern has failed, and quantity('1e999999999') takes the API server
    minutes: it must stand before each.
    """
    return f"string({quantity}).matches('[eE][+-]?[0-9]{{3}}')"


_IS_GPU = " || ".join(
    [*(f"k.endsWith('{suffix}')" for suffix in GPU_SUFFIXES), f"k.contains('{GPU_SLICE}')"]
)
"""Condition that a resource of the name k is a GPU, or a part of one."""

SPEC_RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "data": (
        (
            "self.cadenceSeconds == 0 || 86400 % self.cadenceSeconds == 0",
            "cadenceSeconds must divide a day of 86400 seconds: use for example 60 or 300",
        ),
        (
            "self.columns.all(c, double(c.factor) > 0.0)",
            "the factor of a column must be above 0",
        ),
        (
            f"self.columns.all(c, !(c.name in {list(NO_METRICS)}) || "
            "(double(c.factor) == 1.0 && c.aggregate == 'Mean'))",
            f"{', '.join(NO_METRICS)} are no metrics and take neither factor nor aggregate: "
            "remove them",
        ),
        (
            "self.columns.all(c, self.columns.exists_one(d, "
            "(has(d.from) ? d.from : d.name) == (has(c.from) ? c.from : c.name)))",
            "columns: two have the same from (absent: their name): keep one",
        ),
    ),
    "data.validation": (
        (
            "self.policy != 'Off' || !(has(self.minRows) || has(self.minServers) || "
            "has(self.minCoveragePercent) || has(self.maxMissingPercent) || "
            "has(self.maxStalenessSeconds))",
            "validation: limits mean nothing with policy Off: remove them, or use Warn or Enforce",
        ),
    ),
    "data.window": (
        (
            "!(has(self.lookbackSeconds) && (has(self.start) || has(self.end)))",
            "window.start or window.end excludes window.lookbackSeconds: keep one form",
        ),
        (
            "!has(self.endOffsetSeconds) || has(self.lookbackSeconds)",
            "window.endOffsetSeconds needs window.lookbackSeconds: set it, or use end",
        ),
        (
            "!(has(self.start) && has(self.end)) || self.start < self.end",
            "window.start must lie before window.end: exchange them",
        ),
    ),
    "data.split": (
        (
            "self.validationPercent + self.holdoutPercent <= 90",
            "split.validationPercent and holdoutPercent leave less than 10 percent to train on: "
            "lower one",
        ),
    ),
    "model": (
        (
            "self.hiddenSize % self.attentionHeads == 0",
            "hiddenSize must be a multiple of attentionHeads: change one of them",
        ),
        (
            "double(self.dropout) < 1.0",
            "dropout must be below 1",
        ),
        (
            "self.targets.all(t, double(t.weight) > 0.0)",
            "the weight of a target must be above 0",
        ),
    ),
    "training": (
        ("double(self.learningRate) > 0.0", "learningRate must be above 0"),
        (
            "!(has(self.memoryBudget) && self.mode == 'Standard')",
            "memoryBudget means nothing with mode Standard, which keeps everything: remove it, or "
            "use Streaming",
        ),
        (
            # A quantity may come as a number: string() makes one text of both.
            f"!has(self.memoryBudget) || {_is_long('self.memoryBudget')} || "
            "quantity(string(self.memoryBudget)).compareTo(quantity('1')) >= 0",
            "memoryBudget must be above 0, for example 1Gi",
        ),
    ),
    "resourcesPerNode": tuple(
        (
            f"!has(self.{part}) || self.{part}.filter(k, {_IS_GPU}).all(k, "
            f"{_is_long(f'self.{part}[k]')} || "
            f"quantity(string(self.{part}[k])).isLessThan(quantity('2'))) && "
            f"self.{part}.filter(k, {_IS_GPU}).size() <= 1",
            f"resourcesPerNode.{part} asks for more than one GPU: a run trains on one, ask for 1",
        )
        for part in ("limits", "requests")
    ),
    "storage": (
        (
            "!(has(self.secretRef) && has(self.serviceAccountName))",
            "secretRef and serviceAccountName exclude each other: keep one",
        ),
    ),
}
"""CEL rules by field of the spec: (rule, message)."""

PRINTER_COLUMNS = (
    ("Phase", "string", ".status.phase", 0),
    ("Progress", "string", ".status.progress.summary", 0),
    ("ETA", "string", ".status.columns.eta", 0),
    ("Val-Loss", "string", ".status.columns.valLoss", 0),
    ("Resumed", "integer", ".status.checkpoint.resumedFromStep", 0),
    ("Disrupted", "integer", ".status.disruptions.count", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Queue", "string", ".status.resolved.queue", 1),
    ("Node", "string", ".status.columns.node", 1),
    ("GPU-H", "string", ".status.columns.gpuHours", 1),
    ("Lost", "string", ".status.columns.lost", 1),
    ("Ckpt-Age", "date", ".status.checkpoint.savedAt", 1),
    ("Model", "string", ".status.columns.model", 1),
    ("Reason", "string", ".status.reason", 1),
)
"""(name, type, JSON path, priority): priority 1 is shown by `-o wide` only."""


def structural(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """Returns the structural form of one node of a pydantic JSON schema.

    Raises ValueError for a shape that a structural schema cannot express.
    """
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        return structural({**target, **{k: v for k, v in node.items() if k != "$ref"}}, definitions)
    if "anyOf" in node:
        alternatives = [entry for entry in node["anyOf"] if entry.get("type") != "null"]
        if len(alternatives) != 1:
            raise ValueError(f"a union has no structural schema: {node}")
        rest = {k: v for k, v in node.items() if k not in ("anyOf", "default")}
        return structural({**alternatives[0], **rest}, definitions)
    if "allOf" in node:
        raise ValueError(f"allOf has no structural schema here: {node}")
    result = {key: value for key, value in node.items() if key in KEPT_KEYWORDS}
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if result.get("x-kubernetes-int-or-string"):
        result.pop("type")
    elif node.get("type") == "object":
        if "properties" in node:
            if "default" in result:
                result["default"] = _without_nulls(result["default"])
            result["properties"] = {
                name: structural(entry, definitions) for name, entry in node["properties"].items()
            }
            if node.get("required"):
                result["required"] = node["required"]
        elif isinstance(node.get("additionalProperties"), dict):
            result["additionalProperties"] = structural(node["additionalProperties"], definitions)
    elif node.get("type") == "array":
        result["items"] = structural(node["items"], definitions)
    elif node.get("type") == "integer":
        result["format"] = "int64"
    return result


def _without_nulls(default: Any) -> Any:
    """An absent field has no default: its `null` would be stored, and CEL would see it."""
    if isinstance(default, dict):
        return {k: _without_nulls(v) for k, v in default.items() if v is not None}
    return default


def spec_schema() -> Schema:
    """Returns the schema of `spec` with its CEL rules."""
    raw = ArgusTrainingJobSpec.model_json_schema(by_alias=True)
    schema = structural(raw, raw.get("$defs", {}))
    for path, rules in {**SPEC_RULES, **POD_RULES}.items():
        _add_rules(schema, path, [{"rule": rule, "message": message} for rule, message in rules])
    for path in FROZEN_FIELDS:
        _freeze(schema, path)
    _add_rules(schema, "", [_raised_rule(field) for field in RAISED_FIELDS])
    return schema


def _add_rules(schema: Schema, path: str, rules: list[Schema]) -> None:
    """Adds CEL rules to a node."""
    _node(schema, path).setdefault("x-kubernetes-validations", []).extend(rules)


def _node(schema: Schema, path: str) -> Schema:
    """Returns the node at this path of `schema`; an empty one is `schema` itself."""
    for field in filter(None, path.split(".")):
        schema = schema["properties"][field]
    return schema


def status_schema() -> Schema:
    """Returns the schema of `status`; the operator alone writes it, so it has no defaults.

    It is owned as a whole: the API server need not keep, and compare at each write, who owns which
    of a hundred fields.
    """
    raw = ArgusTrainingJobStatus.model_json_schema(by_alias=True, mode="serialization")
    schema = _without_defaults(structural(raw, raw.get("$defs", {})))
    return {**schema, "x-kubernetes-map-type": "atomic"}


def _without_defaults(schema: Schema) -> Schema:
    result = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in schema:
        result["properties"] = {k: _without_defaults(v) for k, v in schema["properties"].items()}
    if "items" in schema:
        result["items"] = _without_defaults(schema["items"])
    if "additionalProperties" in schema:
        result["additionalProperties"] = _without_defaults(schema["additionalProperties"])
    return result


def _freeze(schema: Schema, path: str) -> None:
    """Adds the transition rules that keep one field as it was, or absent as it was.

    The API server evaluates all rules at each write of a status as well, and pays for each step of
    a path with copies of the schemas of all fields beside it: so each rule stands where it looks.
    """
    message = f"spec.{path} cannot be changed: {WAY_OUT}"
    above, _, field = path.rpartition(".")
    _add_rules(schema, path, [{"rule": "self == oldSelf", "message": message}])
    parent = _node(schema, above)
    if field not in parent.get("required", ()) and "default" not in parent["properties"][field]:
        same = f"has(self.{field}) == has(oldSelf.{field})"
        _add_rules(schema, above, [{"rule": same, "message": message}])


def _suspended_rule(field: str) -> Schema:
    """Returns the transition rule that keeps one field as it was unless the run stands still.

    The phase says that the operator has seen it: what changes then is in the next Job.
    """
    new, old = f"self.spec.{field}", f"oldSelf.spec.{field}"
    is_as_it_was = f"has({new}) ? has({old}) && {new} == {old} : !has({old})"
    stands_still = (
        "oldSelf.spec.suspend && has(oldSelf.status) && has(oldSelf.status.phase) && "
        "oldSelf.status.phase == 'Suspended'"
    )
    return {
        "rule": f"({is_as_it_was}) || ({stands_still})",
        "message": f"spec.{field} can be changed only while the run is suspended: set "
        "spec.suspend to true and wait for phase Suspended",
    }


def _raised_rule(field: str) -> Schema:
    """Returns the transition rule of a limit that a running run can only be given more of."""
    old, new = f"oldSelf.{field}", f"self.{field}"
    return {
        "rule": f"!has({new}) || (has({old}) && {new} >= {old})",
        "message": f"spec.{field} can only be raised or removed: to end the run earlier, set "
        "spec.suspend to true or delete it (checkpoints and bundles in the bucket stay)",
    }


def custom_resource_definition() -> Schema:
    """Returns the CustomResourceDefinition of ArgusTrainingJob."""
    root_rules = [
        {
            "rule": f"size(self.metadata.name) <= {names.MAX_RUN_NAME_LENGTH}",
            "message": f"metadata.name may have at most {names.MAX_RUN_NAME_LENGTH} characters: "
            "its Jobs append a hash and a number",
        },
        {
            "rule": "!self.metadata.name.contains('.')",
            "message": "metadata.name may not hold a dot: it becomes part of pod names",
        },
        *(_suspended_rule(field) for field in SUSPENDED_FIELDS),
    ]
    schema = {
        "type": "object",
        "description": "One training run of the server-failure model: streams Parquet chunks from "
        "object storage, trains a Temporal Fusion Transformer, checkpoints, publishes a bundle.",
        "required": ["spec"],
        "x-kubernetes-validations": root_rules,
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(),
            "status": status_schema(),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names.PLURAL}.{names.GROUP}",
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": ["atj"],
                "categories": ["argus"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "selectableFields": [
                        {"jsonPath": ".spec.suspend"},
                        {"jsonPath": ".status.phase"},
                    ],
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "priority": priority}
                        for name, kind, path, priority in PRINTER_COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def to_yaml() -> str:
    """Returns the CRD as the text of its generated file."""
    header = "# Generated from contract/argus_contract by `make generate`. Do not edit.\n"
    body = yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=100)
    return header + body
