"""Exit codes of the trainer: the part of the contract that a Job can act on.

The numbers follow sysexits.h where it has a word for the case. The Job's
podFailurePolicy is built from `IGNORED` and `FATAL`; every other code counts
against backoffLimit.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Why a trainer process ended."""

    OK = 0
    """The bundle is published and verified, or was found so."""
    USAGE = 64
    """The launch configuration or the command line cannot be read."""
    DATA = 65
    """The data is absent, broken, or changed under the run."""
    DIVERGED = 70
    """Loss, gradients or weights are not finite."""
    STUCK = 71
    """The trainer's own watchdog saw no progress."""
    STORAGE_UNAVAILABLE = 74
    """The store stayed away longer than `storage.outageToleranceSeconds`."""
    PREEMPTED = 75
    """SIGTERM was seen and the state is durable (or there was nothing to save)."""
    STORAGE_DENIED = 77
    """The store refused access at first contact."""
    CONFIGURATION = 78
    """The configuration cannot work: a GPU that is not there, a changed spec."""


IGNORED = (ExitCode.STORAGE_UNAVAILABLE, ExitCode.PREEMPTED)
"""The pod is replaced and no retry is consumed."""

FATAL = (ExitCode.USAGE, ExitCode.DATA, ExitCode.DIVERGED, ExitCode.CONFIGURATION)
"""No retry can help: the Job fails at once."""
