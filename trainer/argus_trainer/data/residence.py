"""Where the blocks of a run stay: on the device that trains if they fit there, else on the host.

A block holds a row once, batches hold it once for each window that it is in: a few hundred times
as much travels to a GPU when the blocks stay on the host.
"""

from argus_trainer.data.memory import Memory, Shares

LEAST_LEFT_OF_DEVICE = 3
"""Times the memory of the blocks that the network, its gradients and what it computes may take."""


def blocks_fit(memory: Memory, shares: Shares, free_bytes: int) -> bool:
    """Whether all blocks that exist at once fit beside the training on a device."""
    return (1 + LEAST_LEFT_OF_DEVICE) * held_bytes(memory, shares) <= free_bytes


def held_bytes(memory: Memory, shares: Shares) -> int:
    """Returns the most bytes of blocks at once: drawn from, made ahead, being made, and kept."""
    in_use = (memory.mix_width + shares.blocks_ahead + 1) * memory.block
    kept = memory.blocks if shares.block_bytes is None else min(shares.block_bytes, memory.blocks)
    return in_use + kept
