"""What the chart's schema takes, the operator takes: else its pod ends again and again.

Rules that look at several fields are no part of either schema: templates/_checks.tpl says them,
and tests/control_plane/test_chart.py lets Helm refuse them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from argus_operator.configuration import Configuration

SCHEMA = Path(__file__).parents[2] / "charts/argus/values.schema.json"
CEILINGS = ("maxLength", "maxItems", "maxProperties", "maximum")
FLOORS = ("minLength", "minItems", "minProperties", "minimum")
STRICTER_PATTERNS = ("defaults.storage.endpoint",)
"""Has the model's pattern, and wants a host."""

Schema = dict[str, Any]


def at(schema: Schema, *path: str) -> Schema:
    for name in path:
        schema = schema["properties"][name]
    return schema


def resolved(schema: Schema, root: Schema) -> Schema:
    """Follows references; of "this or null" it is this."""
    for choice in schema.get("anyOf", []):
        if choice.get("type") != "null":
            schema = {**schema, **choice}
    if "$ref" not in schema:
        return schema
    found = root
    for name in schema["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return resolved(found, root)


def as_configuration(chart: Schema) -> Schema:
    """Returns the schema of what the template makes of the values."""
    defaults = resolved(at(chart, "defaults"), chart)
    prefixes = {
        "checkpointUri": at(resolved(at(defaults, "checkpoint"), chart), "uri"),
        "outputUri": at(resolved(at(defaults, "output"), chart), "uri"),
    }
    kept = {k: v for k, v in defaults["properties"].items() if k not in ("checkpoint", "output")}
    return {
        "required": [*chart["required"], "kueueEnabled", "progressIntervalSeconds"],
        "properties": {
            "clusterName": at(chart, "clusterName"),
            "watchNamespaces": at(chart, "watchNamespaces"),
            "kueueEnabled": at(chart, "kueue", "enabled"),
            "progressIntervalSeconds": at(chart, "progress", "intervalSeconds"),
            "defaults": {**defaults, "properties": {**kept, **prefixes}},
            "trainer": at(chart, "trainer"),
            "planning": at(chart, "planning"),
        },
    }


def gaps(chart: Schema, model: Schema, roots: tuple[Schema, Schema], path: str) -> Iterator[str]:
    """Yields each rule of the model that the chart does not have."""
    chart, model = resolved(chart, roots[0]), resolved(model, roots[1])
    for rule in (*CEILINGS, *FLOORS):
        if rule in model:
            sign = 1 if rule in CEILINGS else -1
            if rule not in chart or sign * chart[rule] > sign * model[rule]:
                yield f"{path}: {rule} {chart.get(rule)}, in the model {model[rule]}"
    if "pattern" in model and path not in STRICTER_PATTERNS:
        inner = model["pattern"].removeprefix("^").removesuffix("$")
        # Empty is "not given": the template leaves it out.
        if chart.get("pattern") not in (model["pattern"], f"^({inner})?$"):
            yield f"{path}: pattern {chart.get('pattern')}, in the model {model['pattern']}"
    if "enum" in model and not set(chart.get("enum", ["any"])) <= {"", *model["enum"]}:
        yield f"{path}: enum {chart.get('enum')}, in the model {model['enum']}"
    for name in model.get("required", []):
        if name not in chart.get("required", []):
            yield f"{path}.{name}: is required in the model"
    for name, part in chart.get("properties", {}).items():
        where = f"{path}.{name}".removeprefix(".")
        if name in model["properties"]:
            yield from gaps(part, model["properties"][name], roots, where)
        else:
            yield f"{where}: is no field of the model"
    inner_parts = {"items": "[]", "additionalProperties": "{}", "propertyNames": "{name}"}
    for rule, mark in inner_parts.items():
        if isinstance(model.get(rule), dict):
            yield from gaps(chart.get(rule) or {}, model[rule], roots, path + mark)


def test_the_chart_has_each_rule_that_the_operator_has_for_a_field() -> None:
    chart = json.loads(SCHEMA.read_text())
    model = Configuration.model_json_schema()
    assert list(gaps(as_configuration(chart), model, (chart, model), "")) == []
