"""The quantile loss, as one broadcast.

    B windows of a batch, T decoder steps, Q quantiles

A prediction and its target are in the metric's own unit. The difference is divided by the
server's own scale of that metric, so that a busy database does not drown a quiet web server
and percent does not drown load; then it is weighed by step and by target. With scale 1 and
weight 1 the value is that of pytorch-forecasting's QuantileLoss: the mean over Q and steps.

The scale is the spread that one unit of the network's output has around the server's
typical value: `scale * sigmoid(center)`, the slope of softplus at the center.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from argus_trainer.data.batch import Batch
from argus_trainer.model.network import QUANTILES


@dataclass(frozen=True, kw_only=True)
class LossParts:
    """Sums that make the loss of one batch or, added up, of many."""

    loss_of_target: Tensor
    """[targets] weighted sum of losses."""
    weight_of_target: Tensor
    """[targets] sum of step weights."""

    def mean(self, weight_of_targets: Tensor) -> Tensor:
        """Returns the loss: mean over steps per target, weighted mean over targets.

        weight_of_targets: [targets], relative to each other. A batch in which every step of a
        target is masked counts as 0 for that target.
        """
        each = self.loss_of_target / self.weight_of_target.clamp(min=1.0)
        return (each * weight_of_targets).sum() / weight_of_targets.sum()


def quantile_loss(prediction_BTQ: Tensor, target_BT: Tensor) -> Tensor:
    """Returns the loss [B, T, Q], unscaled: 2 * max(q * error, (q - 1) * error)."""
    quantiles_Q = torch.tensor(QUANTILES, dtype=prediction_BTQ.dtype, device=prediction_BTQ.device)
    error_BTQ = target_BT.unsqueeze(-1) - prediction_BTQ
    return 2 * torch.maximum(quantiles_Q * error_BTQ, (quantiles_Q - 1) * error_BTQ)


def unit_scale(target_scale_B2: Tensor) -> Tensor:
    """Returns [B]: the server's spread in the metric's unit, from its (center, scale)."""
    center_B, scale_B = target_scale_B2[:, 0], target_scale_B2[:, 1]
    return scale_B * torch.sigmoid(center_B)


def batch_loss(predictions: Sequence[Tensor], batch: Batch) -> LossParts:
    """Returns the parts of the loss of a batch; `predictions` are [B, T, Q] per target."""
    scales = target_scales(batch)
    losses, weights = [], []
    for prediction_BTQ, target_BT, scale_B2 in zip(predictions, batch.y, scales, strict=True):
        scale_B11 = unit_scale(scale_B2)[:, None, None]
        # A masked step may hold NaN, and NaN times 0 is NaN: it is replaced, not multiplied.
        seen_BT = batch.weight > 0
        target_BT = torch.where(seen_BT, target_BT, torch.zeros_like(target_BT))
        loss_BT = (quantile_loss(prediction_BTQ, target_BT) / scale_B11).mean(-1)
        losses.append((loss_BT * batch.weight).sum())
        weights.append(batch.weight.sum())
    return LossParts(loss_of_target=torch.stack(losses), weight_of_target=torch.stack(weights))


def target_scales(batch: Batch) -> list[Tensor]:
    """Returns (center, scale) [B, 2] per target; one target alone comes without a list."""
    scales = batch.x["target_scale"]
    return list(scales) if isinstance(scales, list | tuple) else [scales]
