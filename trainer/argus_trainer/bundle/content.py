"""What a bundle is made of: values that every retry of publishing knows alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:  # its import takes many seconds, and only its type is needed here
    from pytorch_forecasting import TimeSeriesDataSet

from argus_contract.ledger import Final, StepManifest
from argus_contract.plan import Plan, Statistics
from argus_contract.spec import ModelSpec, TrainingSpec


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What training came to: numbers of the final state."""

    total_epochs_completed: int
    steps: int
    best_epoch: int | None
    """From 1."""
    metrics: Mapping[str, float]
    """train_loss, val_loss (the best), untrained_val_loss; an unknown one is left out."""


@dataclass(frozen=True, kw_only=True)
class BundleContent:
    """Everything that the files of a bundle follow from."""

    plan: Plan
    statistics: Statistics
    model: ModelSpec
    training: TrainingSpec
    final: Final
    manifest: StepManifest
    """Of the final state."""
    outcome: Outcome
    network: Mapping[str, object]
    """JSON: arguments of `TemporalFusionTransformer.from_dataset`, beside the dataset."""
    quantiles: tuple[float, ...]
    """Axis Q of a prediction."""
    weights: Mapping[str, Tensor]
    """The whole state_dict of the published weights, on the CPU."""
    reference: "TimeSeriesDataSet"
    """Fitted dataset: what the pickle is taken from."""
