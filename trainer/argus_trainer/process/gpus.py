"""Whether the GPUs that were asked for can be used. Only torch knows which are there."""

from argus_trainer.errors import ConfigurationError


def check_count(gpus: int) -> None:
    """Raises ConfigurationError for more GPUs than one trainer uses."""
    if gpus > 1:
        raise ConfigurationError(
            f"resourcesPerNode asks for {gpus} GPUs: this trainer uses one, ask for 1"
        )


def check_gpus(gpus: int) -> None:
    """Raises ConfigurationError when GPUs were asked for and cannot be used."""
    if not gpus:
        return
    # Seconds of imports, and nothing else that is slow.
    import torch

    if torch.cuda.device_count() < gpus:
        raise ConfigurationError(
            f"resourcesPerNode asks for {gpus} GPU and {torch.cuda.device_count()} are visible: "
            "check the node's driver and device plugin, or ask for none"
        )
