"""The process around a training: signals, /progress, last words, the journey of a run.

`stop` and `report` are light on purpose: they run before anything heavy is imported.
"""
