"""Builds pytorch-forecasting's Temporal Fusion Transformer for a plan.

The class, its parameter names and its numerics stay theirs, so that a bundle loads without
Argus. It is used as a plain torch module: no Lightning trainer, no metrics, no logging.
Weights depend on the seed alone; the caller's random state is left as it was.

Price: importing pytorch-forecasting takes many seconds (Lightning, scikit-learn, pandas).
"""

import warnings
from typing import TypedDict

import torch
from pytorch_forecasting import TimeSeriesDataSet
from pytorch_forecasting.metrics import MultiLoss, QuantileLoss
from pytorch_forecasting.models import TemporalFusionTransformer
from torch import Tensor, nn

from argus_contract.spec import ModelSpec
from argus_trainer.errors import DataError

QUANTILES: tuple[float, ...] = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
"""The default quantiles of pytorch-forecasting's QuantileLoss: axis Q of every prediction."""


class NetworkArguments(TypedDict):
    """Arguments of `TemporalFusionTransformer.from_dataset` that the spec decides; JSON."""

    hidden_size: int
    attention_head_size: int
    hidden_continuous_size: int
    lstm_layers: int
    dropout: float
    output_size: int | list[int]


def network_arguments(model: ModelSpec, num_targets: int) -> NetworkArguments:
    """Returns what a reader of a bundle passes to `from_dataset` beside the dataset."""
    return NetworkArguments(
        hidden_size=model.hidden_size,
        attention_head_size=model.attention_heads,
        hidden_continuous_size=model.hidden_continuous_size,
        lstm_layers=1,
        dropout=float(model.dropout),
        output_size=len(QUANTILES) if num_targets == 1 else [len(QUANTILES)] * num_targets,
    )


def build_network(
    reference: TimeSeriesDataSet, model: ModelSpec, seed: int
) -> TemporalFusionTransformer:
    """Returns the network on the CPU, in training mode, with weights drawn from `seed`.

    Raises DataError for a column whose name torch keeps for itself.
    """
    _refuse_reserved_names(reference)
    num_targets = len(reference.target_names)
    losses = [QuantileLoss(list(QUANTILES)) for _ in range(num_targets)]
    with torch.random.fork_rng(devices=()), warnings.catch_warnings():
        # Lightning advises to keep modules out of save_hyperparameters; we save none.
        warnings.filterwarnings("ignore", message="Attribute '.*' is an instance of `nn.Module`")
        torch.manual_seed(seed)
        network: TemporalFusionTransformer = TemporalFusionTransformer.from_dataset(
            reference,
            loss=losses[0] if num_targets == 1 else MultiLoss(losses),
            logging_metrics=nn.ModuleList(),
            log_interval=-1,
            **network_arguments(model, num_targets),
        )
    return network.train()


def _refuse_reserved_names(reference: TimeSeriesDataSet) -> None:
    # The network files its variables in a ModuleDict, where `cpu` or `type` would hide a method.
    names = reference.reals + reference.categoricals
    reserved = [name for name in names if hasattr(nn.ModuleDict, name)]
    if reserved:
        raise DataError(
            f"column {reserved[0]!r} has a name that torch keeps for itself: rename it, for "
            f"example to {reserved[0]}_pct, with `argus import --map`"
        )


def predict(network: nn.Module, x: dict[str, Tensor]) -> list[Tensor]:
    """Returns one prediction [B, T, Q] in raw units per target, in the order of the targets."""
    prediction = network(x)["prediction"]
    return list(prediction) if isinstance(prediction, list | tuple) else [prediction]


def own_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and buffers by name, each once: aliases of shared modules left out.

    The tensors are the network's own, not copies.
    """
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def full_state(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns a whole state_dict that holds the values of `tensors` (names of `own_tensors`).

    Shared modules appear under each of their names with a copy of their own, as a strict
    `load_state_dict` wants it and as safetensors can store it.
    """
    name_of_storage = {id(value): name for name, value in own_tensors(network).items()}
    return {
        key: tensors[name_of_storage[id(value)]].detach().cpu().clone().contiguous()
        for key, value in network.state_dict(keep_vars=True).items()
    }
