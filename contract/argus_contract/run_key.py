"""Identity of a run: the same YAML applied again is the same run.

`runKey = sha256(cluster, namespace, name, runToken, canonical data + model + training)`.
Canonical means: only fields that differ from their default, keys sorted. A new field
with a default therefore changes no key that exists (golden digests in the tests). What
stays in memory is left out, and so is the judgement of the data: the model is the same, so
the run may go on with another budget, or after the data was judged by other limits.
"""

import hashlib
import json
import re
from typing import Any

from argus_contract.data_spec import DataRules
from argus_contract.model import Model
from argus_contract.spec import ArgusTrainingJobSpec, DataSpec, ModelSpec, TrainingSpec

RUN_KEY_LENGTH = 20
_PLAN = "plan"
MEMORY = frozenset({"mode", "memoryBudget"})
"""Fields of `training` that say only what stays in memory."""


def canonical(model: Model) -> dict[str, Any]:
    """Returns the fields of `model` that differ from their defaults, on their wire names."""
    changed: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return changed


def identity_of(training: TrainingSpec) -> dict[str, Any]:
    """Returns the canonical form of what makes the model, whatever stays in memory."""
    return {name: value for name, value in canonical(training).items() if name not in MEMORY}


def _identity_of_data(data: DataSpec) -> dict[str, Any]:
    return {name: value for name, value in canonical(data).items() if name != "validation"}


def run_key(cluster: str, namespace: str, name: str, spec: ArgusTrainingJobSpec) -> str:
    """Returns the key of a run, 20 hexadecimal digits."""
    identity = {
        "cluster": cluster,
        "namespace": namespace,
        "name": name,
        "runToken": spec.run_token,
        "data": _identity_of_data(spec.data),
        "model": canonical(spec.model),
        "training": identity_of(spec.training),
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:RUN_KEY_LENGTH]


def configuration_digest(data: DataRules, model: ModelSpec, training: TrainingSpec) -> str:
    """Returns the digest of what a plan was made for; fields left at their default change none."""
    configuration = {
        "data": canonical(data),
        "model": canonical(model),
        "training": identity_of(training),
    }
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def job_name(name: str, key: str, generation: int, *, planning: bool = False) -> str:
    """Returns the name of the Job of one generation of a run, at most 63 characters."""
    kind = f"{_PLAN}-" if planning else ""
    return f"{name}-{key[:8]}-{kind}{generation}"


def is_job_of(name: str, job_name: str) -> bool:
    """Says whether this is the name of a Job of a run of this name, of whichever spec."""
    rest = job_name.removeprefix(f"{name}-")
    return rest != job_name and re.fullmatch(rf"[0-9a-f]{{8}}-({_PLAN}-)?[0-9]+", rest) is not None


def plans(job_name: str) -> bool:
    """Says whether this is the name of a planning Job. A key, being hexadecimal, never looks so."""
    return job_name.rpartition("-")[0].endswith(f"-{_PLAN}")
