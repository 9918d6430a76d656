"""The trainer: streams chunks from a store, trains the model, saves, publishes.

Rooms, in the direction of a chunk: storage -> data -> model -> training -> checkpoints ->
bundle. It knows nothing of Kubernetes but the environment of its pod.
"""
