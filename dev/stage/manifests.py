"""Small runs for tests."""

import time
from typing import Any

DATASETS = "s3://argus/datasets"


def small_run(name: str, uri: str, **training: Any) -> dict[str, Any]:
    """Returns a new run of 24/6 windows and hidden size 8 that saves every three seconds."""
    return {
        "apiVersion": "argus.tachyon.dev/v1alpha1",
        "kind": "ArgusTrainingJob",
        "metadata": {"name": name},
        "spec": {
            "data": {"uri": uri},
            "runToken": f"{time.time_ns()}",
            "model": {
                "encoderLength": 24,
                "predictionLength": 6,
                "hiddenSize": 8,
                "attentionHeads": 2,
                "hiddenContinuousSize": 4,
                "targets": [{"name": "cpu_user_pct"}, {"name": "mem_used_pct"}],
            },
            "training": {"epochs": 6, "batchSize": 32, "seed": 3, **training},
            "checkpoint": {"periodSeconds": 3},
            "terminationGracePeriodSeconds": 30,
        },
    }
