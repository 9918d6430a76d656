"""Records that trainers leave in the bucket: claims, their ends, states, the final state."""

from typing import Annotated

from pydantic import Field

from argus_contract.layout import StepId
from argus_contract.model import Model, Time
from argus_contract.names import CONTRACT_VERSION
from argus_contract.status import EndReason


class Claim(Model):
    """One trainer start. Made with If-None-Match; the highest number owns the run."""

    contract_version: int = CONTRACT_VERSION
    number: int
    token: str
    """Random: tells our own claim from another's after a lost reply."""
    pod: str
    node: str | None = None
    time: Time
    resumed: StepId | None = None
    """State that this attempt goes on from, if there was one."""


class ClaimEnd(Model):
    """How an attempt ended; written by itself, or by its successor as `Lost`."""

    contract_version: int = CONTRACT_VERSION
    number: int
    reason: EndReason
    exit_code: int | None = None
    """Absent when nobody saw it."""
    time: Time
    last_durable: StepId | None = None
    lost_seconds: int = 0
    """Training time after the last durable state."""
    message: Annotated[str | None, Field(max_length=1024)] = None


class Divergence(Model):
    """What replays a divergence: the batch, and the state before it.

    A trainer that goes on from `state` meets the batch next.
    """

    contract_version: int = CONTRACT_VERSION
    number: int
    """Of the claim."""
    part: str
    """training or validation."""
    epoch: int
    """From 0."""
    step_of_epoch: int
    """From 0."""
    step: int
    """Steps done before it."""
    seed: int
    """Of the step's randomness."""
    loss: str
    gradient_norm: str | None = None
    """Absent in validation."""
    window_ids: tuple[int, ...]
    """Of the batch; in validation, of the first batch whose loss is not finite."""
    state: StepId | None = None
    """The saved state before it; absent when it could not be saved."""


class Repin(Model):
    """An object that changed after the plan and was taken as it is (`data.onChange: Repin`).

    Read by every later attempt; of several records of one key the highest number counts.
    """

    contract_version: int = CONTRACT_VERSION
    number: int
    key: str
    was: str
    """ETag before."""
    etag: str
    size: int


class TensorFile(Model):
    """The safetensors object of a state."""

    key: str
    size: int
    sha256: str


class StepManifest(Model):
    """Makes a saved state count. `state` is JSON of the training room (`training/state.py`)."""

    contract_version: int = CONTRACT_VERSION
    id: StepId
    saved_at: Time
    save_seconds: float
    tensors: TensorFile
    plan_digest: str
    statistics_digest: str
    configuration_digest: str
    state: dict[str, object]
    """Cursor, scheduler, best metric, early stopping, digests of windows, versions."""
    versions: dict[str, str]
    """Of the trainer: Python, torch, pytorch-forecasting, device, CPU, threads, image."""
    ends_training: bool = False
    """True for a state that may be named as the final one: kept until the run is published."""
    inexact_reason: str | None = None
    """Why the plan alone would not lead to this state; absent when it would."""


class Final(Model):
    """The one state that is published; never pruned."""

    contract_version: int = CONTRACT_VERSION
    run_key: str
    id: StepId
    manifest_sha256: str
    bundle_name: str
    windows_digest: str
    """Chain of digests over the ids of all windows trained on, in order."""
    inexact_reason: str | None = None
    """Why a run from the plan alone would not come to this state; absent when it would."""


class PublishedRecord(Model):
    """An entry of `published/`; the highest with `current` true is the current model."""

    contract_version: int = CONTRACT_VERSION
    number: int
    bundle: str
    digest: str
    """SHA-256 of the bundle's MANIFEST.json."""
    window_end: Time
    run_key: str
    who: str
    """namespace/name of the run."""
    current: bool


class BundleFile(Model):
    name: str
    size: int
    sha256: str


class BundleManifest(Model):
    """MANIFEST.json of a bundle: written last, it makes the bundle count."""

    contract_version: int = CONTRACT_VERSION
    run_key: str
    files: tuple[BundleFile, ...]
    manifest_digest: str
    """Data version."""
    window_end: Time
    seed: int
    image: str
    metrics: dict[str, str]
    versions: dict[str, str]


class BundleReservation(Model):
    """Gives a bundle name to one run."""

    run_key: str
