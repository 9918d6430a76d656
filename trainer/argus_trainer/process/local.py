"""From a command line to a launch document: what the operator does for a pod.

A run is its dataset's address and its settings, so the same command goes on with the same
run. `--fresh` begins another one: tokens are numbered objects beside the checkpoints, and the
newest belongs to the plain command from then on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

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
from argus_trainer.errors import DataError, ObjectExists, UsageError
from argus_trainer.process.options import refusal_of
from argus_trainer.storage.address import check_address, check_folder
from argus_trainer.storage.open import open_store

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


def launch_of(request: Request) -> Launch:
    """Returns the launch document. Raises UsageError, DataError for a folder that is not there."""
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
    token = _token(checkpoint_uri, key, request)
    return Launch(
        namespace=NAMESPACE,
        name=NAME,
        run_key=_key(token, data, model, training) if token else key,
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


def _token(checkpoint_uri: str, key: str, request: Request) -> str:
    """Returns the newest token of this command, "" if it was never started with --fresh."""
    store = open_store(checkpoint_uri, request.storage)
    prefix = f"{FRESH}{key}/"
    while True:
        newest = len(store.list_objects(prefix))
        if not request.fresh:
            return f"fresh-{newest}" if newest else ""
        try:
            store.put_new(f"{prefix}{newest + 1:06d}", b"{}\n")
        except ObjectExists:
            continue  # another start took this number
        return f"fresh-{newest + 1}"


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
