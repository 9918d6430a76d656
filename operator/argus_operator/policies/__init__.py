"""One question about a run per file; `decide` asks them in a fixed order.

A policy takes what was observed and a draft and returns the draft with its answer. No
I/O, no clock, no environment: the time is `observed.now`.
"""
