"""Resources that nobody means to write: drawn from the CRD's own schema, then spoilt.

A draw with the same seed is the same. About half are what a user might write, with few of the
optional fields; the rest hold one or two values that something on the way may stumble over.
"""

import copy
import random
from collections.abc import Iterator
from typing import Any

from argus_contract.crd import spec_schema
from stage.api import JsonObject

_SAMPLES: dict[str, tuple[Any, ...]] = {
    "data.uri": ("s3://metrics/edge", "gs://metrics/a/b", "abfss://x@store/\U0001f600"),
    "data.window.start": ("2026-01-01T00:00:00Z", "1000-01-01T00:00:00+23:59"),
    "data.window.end": ("2026-02-01T00:00:00.5+01:00", "2999-12-31T23:59:59-23:59"),
    "data.timeZone": ("UTC", "Europe/Berlin", "No/Where"),
    "data.columns.factor": ("1", "0.001", "0"),
    "model.dropout": ("0.1", "0.999999999", "1"),
    "model.targets.weight": ("1", "999999.5"),
    "training.learningRate": ("0.01", "0"),
    "training.memoryBudget": ("4Gi", "1e99", 1024, "0"),
    "resourcesPerNode.limits.*": ("1", "500m", 4, "1e99", "0"),
    "resourcesPerNode.requests.*": ("1", "500m", 4, "1Gi"),
    "podOverrides.env.name": ("HOME", "_a.b-c"),
    "podOverrides.volumeMounts.mountPath": ("/mnt", "/etc/\U0001f600"),
    "podOverrides.volumeMounts.subPath": ("a", "a/../b"),
    "storage.endpoint": ("http://store:9000", "https://\U0001f600"),
    "checkpoint.uri": ("s3://bucket/a", "s3://bucket/\U0001f600", "s3://bucket/\x00\x7f\x85\u2028"),
    "output.uri": ("s3://bucket/b", "s3://bucket/\ufffe"),
    "scheduling.affinity": ({}, {"nodeAffinity": {}}, {"nodeAffinity": {"strange": [None]}}),
}
"""What is taken, by field; other texts are names."""
_NAMES = ("a", "edge-1", "nvidia.com/gpu", "cpu", "memory", "x/mig-1g.5gb")
_SPOILT: tuple[Any, ...] = (
    None,
    True,
    "",
    "\U0001f600",
    "\x00",
    "x" * 5000,
    "-1",
    "NaN",
    "1e999999999",
    "9999-12-31T23:59:59-12:00",
    "2026-01-01t00:00:00z",
    "2026-01-01T00:00:00+99:99",
    "0001-01-01T00:00:00Z",
    -1,
    0,
    0.5,
    2**31,
    2**53 + 1,
    -(2**63),
    10**30,
    [],
    [[]] * 200,
    {},
    {"": None},
    {"name": "a"},
)
_TEXTS = ("\U0001f600", "\x00", "\x7f", "\x85", "\u2028", "\ufffe", "\ud800", "\\ud83d", '"')
_FEW = 0.12
"""Probability of an optional field."""


def by_hand() -> Iterator[JsonObject]:
    """Yields specs that were seen, or read, to do harm once."""
    data = {"uri": "s3://metrics/edge"}
    for start in (
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+12:00",
        "2999-12-31T23:59:59-23:59",
        "1000-01-01T00:00:00+23:59",
        "2026-01-01t00:00:00z",
        "2026-01-01T00:00:00+99:99",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00",
        "2026-01-01",
    ):
        yield {"data": {**data, "window": {"start": start}}}
    for amount in (-1, "-1", "1e999999999", "1e99", 2**63, 0.5):
        yield {"data": data, "resourcesPerNode": {"limits": {"cpu": amount}}}
        yield {"data": data, "resourcesPerNode": {"limits": {"x/gpu": amount}}}
        yield {"data": data, "training": {"memoryBudget": amount}}
    for text in _TEXTS:
        yield {"data": data, "checkpoint": {"uri": f"s3://bucket/{text}"}}
    for levels in (31, 40, 1_500, 3_000):
        yield {"data": data, "scheduling": {"affinity": _nested(levels)}}
    yield {"data": data, "scheduling": {"affinity": {"nodeAffinity": "x" * 1_000_000}}}
    yield {"data": {**data, "validation": {"policy": "Off"}}, "suspend": True}


def _nested(levels: int) -> JsonObject:
    part: JsonObject = {}
    for _ in range(levels):
        part = {"nodeAffinity": part}
    return part


def drawn(seed: int, number: int) -> Iterator[JsonObject]:
    """Yields so many specs."""
    dice, schema = random.Random(seed), spec_schema()
    for place in range(number):
        spec = _draw(dice, schema, "")
        if place % 2:
            for _ in range(dice.randint(1, 2)):
                _spoil(dice, spec)
        yield spec


def _draw(dice: random.Random, node: JsonObject, place: str) -> Any:
    if place in _SAMPLES:
        return copy.deepcopy(dice.choice(_SAMPLES[place]))
    if "enum" in node:
        return dice.choice(node["enum"])
    kind = node.get("type")
    if kind == "object":
        return _draw_object(dice, node, place)
    if kind == "array":
        number = dice.randint(node.get("minItems", 0), 2)
        return [_draw(dice, node["items"], place) for _ in range(number)]
    if kind == "integer":
        least, most = node.get("minimum", -(2**63)), node.get("maximum", 2**63 - 1)
        return dice.choice((least, most, min(most, least + dice.randint(0, 100))))
    if kind == "boolean":
        return dice.random() < 0.5
    return dice.choice(_NAMES)


def _draw_object(dice: random.Random, node: JsonObject, place: str) -> JsonObject:
    fields = node.get("properties", {})
    required = node.get("required", ())
    chosen = [name for name in fields if name in required or dice.random() < _FEW]
    found = {name: _draw(dice, fields[name], f"{place}.{name}".lstrip(".")) for name in chosen}
    values = node.get("additionalProperties")
    if isinstance(values, dict):
        for _ in range(dice.randint(0, 2)):
            found[dice.choice(_NAMES)] = _draw(dice, values, f"{place}.*")
    return found


def _spoil(dice: random.Random, spec: JsonObject) -> None:
    holder, key = dice.choice(list(_places(spec)))
    holder[key] = copy.deepcopy(dice.choice(_SPOILT))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields whatever holds a value, with the key of it there."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
