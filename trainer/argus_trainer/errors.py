"""Errors that end or delay a run, each with the exit code it ends in.

    ArgusError
      UsageError              64   a command line or launch document that cannot be read
      DataError               65   absent, broken or changed data
        ObjectChanged         65   a pinned object is another one now
      DivergedError           70   a loss or weight that is not finite
      StuckError              71   no progress
      StorageError
        StorageUnavailable    74   temporary: retried until outageToleranceSeconds
        StorageDenied         77   refused access
        ObjectNotFound        65   (a caller that expects it catches it)
        ObjectExists          70   lost the race of an If-None-Match PUT; always caught
      Preempted               75   SIGTERM was honoured
      ConfigurationError      78   a GPU that is not there, a changed spec
        GpuOutOfMemory        78   a batch that the GPU cannot hold
      SupersededError         75   a newer claim owns the run

Every message names the field or object, the value, and the way out.
"""

from argus_contract.exit_codes import ExitCode


class ArgusError(Exception):
    """Root of the tree. `exit_code` is what the process ends with."""

    exit_code: ExitCode | int = 1


class UsageError(ArgusError):
    exit_code = ExitCode.USAGE


class DataError(ArgusError):
    exit_code = ExitCode.DATA


class ObjectChanged(DataError):
    """A pinned object is another one now; `data.onChange: Repin` catches it."""


class DivergedError(ArgusError):
    exit_code = ExitCode.DIVERGED


class StuckError(ArgusError):
    exit_code = ExitCode.STUCK


class StorageError(ArgusError):
    """A store did not do what it was asked."""


class StorageUnavailable(StorageError):
    exit_code = ExitCode.STORAGE_UNAVAILABLE


class StorageDenied(StorageError):
    exit_code = ExitCode.STORAGE_DENIED


class ObjectNotFound(StorageError):
    exit_code = ExitCode.DATA


class ObjectExists(StorageError):
    exit_code = ExitCode.DIVERGED


class Preempted(ArgusError):
    exit_code = ExitCode.PREEMPTED


class SupersededError(ArgusError):
    exit_code = ExitCode.PREEMPTED


class ConfigurationError(ArgusError):
    exit_code = ExitCode.CONFIGURATION


class GpuOutOfMemory(ConfigurationError):
    """The GPU cannot hold a batch; as it is the same one each time, no retry can help."""
