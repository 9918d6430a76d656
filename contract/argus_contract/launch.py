"""What the operator tells a trainer pod: one JSON document in one environment variable.

The command line makes the same document for a run without a cluster.
"""

from typing import Annotated

from pydantic import Field

from argus_contract.data_spec import DataRules, ValidationSpec
from argus_contract.model import Model
from argus_contract.names import CONTRACT_VERSION
from argus_contract.spec import (
    DEFAULT_KEEP_LAST,
    ExistingBundlePolicy,
    ModelSpec,
    ResumePolicy,
    TrainingSpec,
)


class LaunchData(DataRules):
    """`DataSpec` after resolution: also a local folder on the command line."""

    uri: str


class LaunchStorage(Model):
    """How to reach the store; credentials come from files or the environment."""

    endpoint: str | None = None
    region: str | None = None
    path_style: bool = False
    credentials_directory: str | None = None
    """Folder with one file per key (the mounted Secret); read again after a 403."""
    ca_bundle: str | None = None
    """File with certificates in PEM form."""
    outage_tolerance_seconds: Annotated[int, Field(ge=0)] = 600
    single_writer: bool = False
    """One trainer at a time is promised: then a store may ignore If-None-Match."""


class LaunchCheckpoint(Model):
    uri: str
    every_chunks: int
    period_seconds: int
    keep_last: Annotated[int, Field(ge=1)] = DEFAULT_KEEP_LAST
    resume_policy: ResumePolicy = ResumePolicy.AUTO


class LaunchOutput(Model):
    uri: str
    existing_bundle_policy: ExistingBundlePolicy = ExistingBundlePolicy.REUSE


class LaunchPlanning(Model):
    """What a planning pod is told beside the run."""

    validation: ValidationSpec
    memory_limit_bytes: Annotated[int | None, Field(ge=0)] = None
    """Memory that the training container may take; None: no limit."""


class Launch(Model):
    """A run, fully resolved."""

    contract_version: int = CONTRACT_VERSION
    namespace: str
    name: str
    run_key: str
    image: str = ""
    data: LaunchData
    model: ModelSpec
    training: TrainingSpec
    storage: LaunchStorage
    checkpoint: LaunchCheckpoint
    output: LaunchOutput
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs that the pod asked for; more than are visible ends the run with exit 78."""
    progress_deadline_seconds: Annotated[int, Field(ge=1)] = 1800
    """Seconds without a step after which the trainer ends itself with exit 71."""
    planning: LaunchPlanning | None = None
    """Only for a pod that plans and does not train."""
