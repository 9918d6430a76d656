"""Values that travel between training and checkpoints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from torch import Tensor

from argus_contract.layout import StepId
from argus_contract.ledger import StepManifest


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Who saves states, and what is recorded of it. A state is not refused for it."""

    versions: dict[str, str]
    """Python, torch, device, threads, ...: what exactness depends on."""
    inexact_reason: Callable[[], str | None]
    """Why the plan alone would not lead to the state of now."""


@dataclass(frozen=True, kw_only=True)
class SnapshotToSave:
    """The training at one step, on the host."""

    step: int
    """Optimizer steps done. Saved once per attempt: after the validation at that step."""
    tensors: Mapping[str, Tensor]
    """CPU, contiguous, no shared memory; names like "model.x", "optimizer.exp_avg.x", "best.x"."""
    state: dict[str, object]
    """JSON of the training room."""
    ends_training: bool = False
    """Nothing is left to train: the state may be named as the final one."""


@dataclass(frozen=True, kw_only=True)
class LoadedState:
    """A state whose digests held."""

    id: StepId
    saved_at: datetime
    tensors: dict[str, Tensor]
    state: dict[str, object]
    manifest: StepManifest
