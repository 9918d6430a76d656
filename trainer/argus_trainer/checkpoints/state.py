"""Values that travel between training and checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from torch import Tensor

from argus_contract.layout import StepId
from argus_contract.ledger import StepManifest


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a state belongs to: it is refused by a run of another identity."""

    plan_digest: str
    statistics_digest: str
    configuration_digest: str
    versions: dict[str, str]
    """Argus, Python, torch, ...: recorded, not compared."""


@dataclass(frozen=True, kw_only=True)
class SnapshotToSave:
    """The training at one step, on the host."""

    step: int
    """Optimizer steps done. Saved once per attempt: after the validation at that step."""
    tensors: Mapping[str, Tensor]
    """CPU, contiguous, no shared memory; names like "model.x", "optimizer.exp_avg.x", "best.x"."""
    state: dict[str, object]
    """JSON of the training room."""
    best: StepId | None = None
    """A state that must survive beside the newest ones."""


@dataclass(frozen=True, kw_only=True)
class LoadedState:
    """A state whose digests held."""

    id: StepId
    saved_at: datetime
    tensors: dict[str, Tensor]
    state: dict[str, object]
    manifest: StepManifest
    fallbacks: tuple[str, ...] = ()
    """Why higher states were passed over, one sentence each."""
