"""How a process ends: from an error to an exit code and a word for the ledger."""

from dataclasses import dataclass

from argus_contract.exit_codes import ExitCode
from argus_contract.status import EndReason
from argus_trainer.errors import (
    ArgusError,
    ConfigurationError,
    DataError,
    DivergedError,
    GpuOutOfMemory,
    ObjectNotFound,
    Preempted,
    StorageDenied,
    StorageUnavailable,
    StuckError,
    SupersededError,
    UsageError,
)
from argus_trainer.wording import one_line

CRASH_EXIT_CODE = 1

_REASONS: tuple[tuple[type[ArgusError], EndReason], ...] = (
    (Preempted, EndReason.PREEMPTED),
    (SupersededError, EndReason.SUPERSEDED),
    (StorageUnavailable, EndReason.STORAGE_UNAVAILABLE),
    (StorageDenied, EndReason.STORAGE_DENIED),
    (DataError, EndReason.DATA),
    (ObjectNotFound, EndReason.DATA),
    (DivergedError, EndReason.DIVERGED),
    (StuckError, EndReason.STUCK),
    (GpuOutOfMemory, EndReason.GPU_OUT_OF_MEMORY),
    (ConfigurationError, EndReason.CONFIGURATION),
    (UsageError, EndReason.CONFIGURATION),
)


@dataclass(frozen=True, kw_only=True)
class End:
    """The end of a process."""

    exit_code: int
    reason: EndReason
    message: str | None
    """The error and the way out, in one line."""


COMPLETED = End(exit_code=ExitCode.OK, reason=EndReason.COMPLETED, message=None)


def end_of(error: Exception) -> End:
    """Returns how `error` ends the process; what is no ArgusError is a crash."""
    if not isinstance(error, ArgusError):
        return End(
            exit_code=CRASH_EXIT_CODE,
            reason=EndReason.CRASHED,
            message=f"{type(error).__name__}: {one_line(error)}",
        )
    reason = next((r for kind, r in _REASONS if isinstance(error, kind)), EndReason.CRASHED)
    return End(exit_code=int(error.exit_code), reason=reason, message=one_line(error))
