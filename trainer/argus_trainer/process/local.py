"""From a command line to a launch document: what the operator does for a pod.

A run is its dataset's address and its settings, so the same command goes on with the same
run. `--fresh` begins another one: tokens are numbered objects beside the checkpoints, and the
newest belongs to the plain command from then on.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from argus_contract import layout
from argus_contract.data_spec import DataRules
from argus_contract.launch import Launch, LaunchCheckpoint, LaunchData, LaunchOutput, LaunchStorage
from argus_contract.run_key import run_key
from argus_contract.spec import (
    ArgusTrainingJobSpec,
    DataSpec,
    ModelSpec,
    ResumePolicy,
    TrainingSpec,
)
from argus_trainer.errors import ConfigurationError, DataError, ObjectExists, UsageError
from argus_trainer.process.options import refusal_of
from argus_trainer.process.surroundings import nothing
from argus_trainer.storage.address import check_address, check_folder
from argus_trainer.storage.open import open_store
from argus_trainer.storage.store import Store

NAMESPACE = "local"
NAME = "argus-train"
FRESH = "fresh/"
GPU_DEVICE = Path("/dev/nvidia0")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked for; values are checked by the contract."""

    dataset: str
    output: str
    data: Mapping[str, object]
    """Fields of `spec.data` but for its address."""
    model: Mapping[str, object]
    training: Mapping[str, object]
    every_chunks: int
    period_seconds: int
    keep_last: int
    resume_policy: ResumePolicy
    gpus: int | None
    fresh: bool
    storage: LaunchStorage


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of `argus train`."""

    launch: Launch
    begin: Callable[[], None]
    """Stores the token of --fresh: a start that is refused leaves nothing behind. Raises
    ConfigurationError when another start has taken it meanwhile."""
    is_fresh: bool

    @property
    def others(self) -> int:
        """Runs of other options, or of other data, in the same output; 0 where this one goes on,
        or was asked to begin anew. Lists the checkpoints where there is no plan of it."""
        if self.is_fresh:
            return 0
        return _num_others(
            open_store(self.launch.checkpoint.uri, self.launch.storage), self.launch.run_key
        )


def start_of(request: Request) -> Start:
    """Returns what is to be started. Raises UsageError, DataError for a folder that is not there.

    Writes nothing.
    """
    try:
        rules = DataRules.model_validate(request.data)
        model = ModelSpec.model_validate(request.model)
        training = TrainingSpec.model_validate(request.training)
    except ValidationError as error:
        raise UsageError(refusal_of(error)) from error
    names = [target.name for target in model.targets]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"--target {twice[0]} is given twice: name it once")
    check_address("--dataset", request.dataset, reading=True)
    check_folder("--output", request.output)
    data_uri = _absolute(request.dataset)
    if "://" not in data_uri and not Path(data_uri).is_dir():
        raise DataError(
            f"--dataset {request.dataset}: no such folder: make one with `argus generate` or "
            "`argus import`, or name another"
        )
    output_uri = _absolute(request.output)
    checkpoint_uri = f"{output_uri}/checkpoints"
    data = LaunchData.model_validate({**rules.model_dump(), "uri": data_uri})
    key = _key("", data, model, training)
    store = open_store(checkpoint_uri, request.storage)
    number = len(store.list_objects(f"{FRESH}{key}/")) + request.fresh
    launch = Launch(
        namespace=NAMESPACE,
        name=NAME,
        run_key=_key(f"fresh-{number}", data, model, training) if number else key,
        data=data,
        model=model,
        training=training,
        storage=request.storage,
        checkpoint=LaunchCheckpoint(
            uri=checkpoint_uri,
            every_chunks=request.every_chunks,
            period_seconds=request.period_seconds,
            keep_last=request.keep_last,
            resume_policy=request.resume_policy,
        ),
        output=LaunchOutput(uri=output_uri),
        gpus=int(GPU_DEVICE.exists()) if request.gpus is None else request.gpus,
    )
    return Start(
        launch=launch,
        begin=partial(_take, store, f"{FRESH}{key}/{number:06d}") if request.fresh else nothing,
        is_fresh=request.fresh,
    )


def _take(store: Store, token: str) -> None:
    try:
        # Equal bytes would be taken for our own, after a lost reply.
        store.put_new(token, json.dumps({"id": uuid.uuid4().hex}).encode())
    except ObjectExists as error:
        raise ConfigurationError(
            "another `argus train --fresh` of the same command began at this moment: start again"
        ) from error


def _num_others(store: Store, run_key: str) -> int:
    if store.list_objects(f"{run_key}/{layout.PLAN}"):
        return 0
    plans = (entry.key.partition("/") for entry in store.list_objects())
    return sum(rest == layout.PLAN and layout.is_run(first) for first, _, rest in plans)


def _key(token: str, data: LaunchData, model: ModelSpec, training: TrainingSpec) -> str:
    spec = ArgusTrainingJobSpec.model_construct(
        run_token=token,
        # A folder is no ObjectUri of the cluster's contract, but identifies data as well here.
        data=DataSpec.model_construct(**dict(data)),
        model=model,
        training=training,
    )
    return run_key("", NAMESPACE, NAME, spec)


def _absolute(address: str) -> str:
    return address.rstrip("/") if "://" in address else str(Path(address).resolve())
