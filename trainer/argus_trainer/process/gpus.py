"""Whether the GPUs that were asked for are there. Imports torch, and nothing else that is slow."""

import torch

from argus_trainer.errors import ConfigurationError


def check_gpus(gpus: int) -> None:
    """Raises ConfigurationError when GPUs were asked for and cannot be used."""
    if gpus and torch.cuda.device_count() < gpus:
        raise ConfigurationError(
            f"resourcesPerNode asks for {gpus} GPU and {torch.cuda.device_count()} are visible: "
            "check the node's driver and device plugin, or ask for none"
        )
