"""The five files of the training guide, as bytes. Pure: the same content, the same bytes.

A consumer needs no Argus: `TimeSeriesDataSet.from_parameters(pickle, frame)`, then
`TemporalFusionTransformer.from_dataset(dataset, **config)`, then a strict
`load_state_dict(safetensors)`. Price: a module that the network holds under several names
is stored under each of them, as a strict load wants it (they are small).
"""

import copy
import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from datetime import datetime

import safetensors.torch
import structlog
from torch import Tensor

from argus_trainer.bundle.content import BundleContent

DATA_CONTRACT_VERSION = "2.0.0"
PICKLE_PROTOCOL = 4
NUM_HASH_CODES = 1_000_000

_log = structlog.get_logger(__name__)


def files_of(content: BundleContent) -> dict[str, bytes]:
    """Returns the files of a bundle by name; MANIFEST.json is made from them."""
    return {
        "model.safetensors": _model(content),
        "config.json": _json(content.network),
        "dataset_parameters.pkl": _dataset_parameters(content),
        "server_mapping.json": _json(server_mapping(content.statistics.servers)),
        "training_info.json": _json(_training_info(content)),
    }


def server_code(name: str) -> str:
    """Returns the number by which consumers of the guide's format know a server."""
    return str(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % NUM_HASH_CODES)


def server_mapping(servers: tuple[str, ...]) -> dict[str, str]:
    """Returns the code of each server; two servers of one code are named in a warning.

    Argus groups by full names, so a collision harms only consumers that know codes alone.
    """
    mapping = {name: server_code(name) for name in servers}
    first_of_code: dict[str, str] = {}
    for name, code in mapping.items():
        first = first_of_code.setdefault(code, name)
        if first != name:
            _log.warning(
                "two servers have one code in server_mapping.json", code=code, servers=[first, name]
            )
    return mapping


def _model(content: BundleContent) -> bytes:
    storages: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name in sorted(content.weights):
        tensor = content.weights[name].detach().contiguous()
        # safetensors refuses two names of one memory: each gets its own copy.
        if tensor.untyped_storage().data_ptr() in storages:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def _dataset_parameters(content: BundleContent) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=PICKLE_PROTOCOL)
    # Without a memo the bytes depend on values alone, and not on which equal strings happen
    # to be one object in this process.
    pickler.fast = True
    # A copy, because copying merges the blocks of a data frame as reading it may have done.
    pickler.dump(copy.deepcopy(content.reference.get_parameters()))
    return buffer.getvalue()


def _training_info(content: BundleContent) -> dict[str, object]:
    plan, statistics, outcome = content.plan, content.statistics, content.outcome
    return {
        "data_contract_version": DATA_CONTRACT_VERSION,
        "run_key": plan.run_key,
        "planned_at": _text(plan.created_at),
        "unique_states": list(statistics.states),
        "epochs": content.training.epochs,
        "total_epochs_completed": outcome.total_epochs_completed,
        "steps": outcome.steps,
        "best_epoch": outcome.best_epoch,
        "best_loss": outcome.metrics.get("val_loss"),
        "metrics": dict(outcome.metrics),
        "targets": [target.name for target in statistics.targets],
        "features": [feature.name for feature in statistics.features],
        "profiles": sorted(set(statistics.profiles)),
        "num_servers": len(statistics.servers),
        "quantiles": list(content.quantiles),
        "encoder_length": content.model.encoder_length,
        "prediction_length": content.model.prediction_length,
        "cadence_seconds": statistics.cadence_seconds,
        "batch_size": content.training.batch_size,
        "learning_rate": float(content.training.learning_rate),
        "seed": plan.seed,
        "data": {
            "uri": plan.data_uri,
            "version": plan.manifest_digest,
            "files": len(plan.files()),
            "bytes": sum(entry.size for entry in plan.files()),
            "training_rows": statistics.rows,
            "training_files": plan.split.train_end,
            "validation_files": plan.split.validation_end - plan.split.train_end,
            "window_start": _text(plan.window.start),
            "window_end": _text(plan.window.end),
        },
        "exact_resume": content.final.inexact_reason is None,
        "exact_resume_reason": content.final.inexact_reason,
        "state": {
            "claim": content.final.id.claim,
            "step": content.final.id.step,
            "windows_digest": content.final.windows_digest,
        },
        "versions": dict(content.manifest.versions),
    }


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(document: Mapping[str, object]) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=2, allow_nan=False) + "\n").encode()
