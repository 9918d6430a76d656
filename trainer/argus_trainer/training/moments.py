"""Adam's memory by parameter name: torch itself numbers parameters, and numbers shift.

A parameter that never had a gradient has no entry. Fused Adam keeps all of an entry, its count
of steps too, beside the parameter.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from torch.optim import Optimizer

KINDS = ("step", "exp_avg", "exp_avg_sq")


def moments_of(network: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Yields (`kind.parameter`, tensor): the optimizer's own tensors."""
    for name, parameter in network.named_parameters():
        entry = optimizer.state.get(parameter, {})
        for kind in KINDS:
            if kind in entry:
                yield f"{kind}.{name}", entry[kind]


def set_moments(network: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Gives the optimizer copies of `tensors`, which `moments_of` had named."""
    optimizer.state.clear()
    for name, parameter in network.named_parameters():
        entry = {kind: tensors[f"{kind}.{name}"] for kind in KINDS if f"{kind}.{name}" in tensors}
        if entry:
            optimizer.state[parameter] = {
                kind: tensor.to(parameter.device, copy=True) for kind, tensor in entry.items()
            }
