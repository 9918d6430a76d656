"""The launch document of a whole small run, for golden files and for tests."""

import posixpath
from collections.abc import Mapping
from typing import Any

from argus_contract.launch import (
    Launch,
    LaunchCheckpoint,
    LaunchData,
    LaunchOutput,
    LaunchStorage,
)
from argus_contract.spec import ModelSpec, TargetSpec, TrainingSpec

RUN_KEY = "0123456789abcdef0123"
TINY = ModelSpec(
    encoder_length=6,
    prediction_length=2,
    hidden_size=2,
    attention_heads=1,
    hidden_continuous_size=1,
    targets=(TargetSpec(name="cpu_user_pct"),),
)
"""Trains an epoch of a day in a second. Golden files were made with it: it stays as it is."""
SMALL = ModelSpec(
    encoder_length=12,
    prediction_length=4,
    hidden_size=8,
    attention_heads=2,
    hidden_continuous_size=4,
    targets=(TargetSpec(name="cpu_user_pct"), TargetSpec(name="load_average")),
)
"""Has heads and targets to get in the wrong order."""


def toy_launch(
    data: str | LaunchData,
    folder: str = "",
    *,
    checkpoint: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Launch:
    """Returns a run over `data` that keeps its states and bundles in `folder`.

    It saves by chunks alone. `data` is an address or all that is said of it, `checkpoint` fields
    of that part, `changes` other whole parts.
    """
    parts: dict[str, Any] = {
        "namespace": "tests",
        "name": "toy",
        "run_key": RUN_KEY,
        "data": LaunchData(uri=data) if isinstance(data, str) else data,
        "model": TINY,
        "training": TrainingSpec(epochs=2, batch_size=64),
        "storage": LaunchStorage(),
        "checkpoint": LaunchCheckpoint.model_validate(
            {"uri": posixpath.join(folder, "checkpoints"), "every_chunks": 1}
            | {"period_seconds": 3600}
            | dict(checkpoint or {})
        ),
        "output": LaunchOutput(uri=posixpath.join(folder, "models")),
    }
    return Launch(**parts | changes)
