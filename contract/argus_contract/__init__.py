"""The vocabulary that the operator and the trainer share.

Specs, status, progress, plan, ledger and bundle records, names, exit codes and
object keys. Standard library and pydantic only: no I/O, no clock, no environment.
Both images carry the same version of this package.
"""
