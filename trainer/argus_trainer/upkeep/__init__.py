"""`argus checkpoints` and `argus gc`: what a checkpoint prefix holds, and how it is emptied.

For people; no run ever needs it. It reads what trainers wrote and may delete, but it never
writes an object, and it needs no torch.
"""
