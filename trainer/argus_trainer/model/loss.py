"""The quantile loss, as one broadcast.

    B windows of a batch, T decoder steps, Q quantiles

A prediction and its target are in the metric's own unit. The difference is divided by the
server's own spread of that metric (from the training part, with a floor), so that a busy
database does not drown a quiet web server and percent does not drown load; then it is weighed
by step and by target. With spread 1 and weight 1 the value is that of pytorch-forecasting's
QuantileLoss: the mean over Q and steps.
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


def batch_loss(predictions: Sequence[Tensor], batch: Batch) -> LossParts:
    """Returns the parts of the loss of a batch; `predictions` are [B, T, Q] per target."""
    losses, weights = [], []
    for prediction_BTQ, target_BT, spread_B in zip(predictions, batch.y, batch.spread, strict=True):
        # A masked step may hold NaN, and NaN times 0 is NaN: it is replaced, not multiplied.
        seen_BT = batch.weight > 0
        target_BT = torch.where(seen_BT, target_BT, torch.zeros_like(target_BT))
        loss_BT = quantile_loss(prediction_BTQ, target_BT).mean(-1) / spread_B[:, None]
        losses.append((loss_BT * batch.weight).sum())
        weights.append(batch.weight.sum())
    return LossParts(loss_of_target=torch.stack(losses), weight_of_target=torch.stack(weights))
