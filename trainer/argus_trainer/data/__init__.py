"""From bytes of pinned chunks to batches: plan, statistics, blocks, order, gather.

Arithmetic decides everything (which windows, in which order); reading only fills blocks.
No torch before the batch; it knows nothing of models, checkpoints or processes.
"""
