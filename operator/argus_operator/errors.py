"""Errors of the operator.

Temporary, the queue tries again:

OperatorError
  ApiError            the API server answered with an error status
    NotFound          404
    AlreadyExists     409 on create
    Conflict          409 on a write with an old resourceVersion
    Refused           403: quota, admission, Pod Security, rights
      Invalid         400 or 422: what was sent is wrong in itself
  ApiUnreachable      no answer in time
  NotLeading          the lease is not held: another replica may act

The process ends, and says why; whoever started it starts it again:
Ending
  StartError          the API server or the CRD is missing
  ScopeTaken          another installation serves a namespace of ours
  LeadershipLost      another replica may act now
  WatchFailed         news of changes does not arrive any more
"""


class OperatorError(Exception):
    """Root of the tree."""


class ApiError(OperatorError):
    """The API server said no."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        """The API server's word, for example AlreadyExists."""
        self.message = message
        """Its sentence."""


class NotFound(ApiError):
    pass


class AlreadyExists(ApiError):
    pass


class Conflict(ApiError):
    pass


class Refused(ApiError):
    pass


class Invalid(Refused):
    pass


class ApiUnreachable(OperatorError):
    pass


class NotLeading(OperatorError):
    pass


class Ending(Exception):
    """The operator cannot start or go on; the message says why, and the way out."""


class StartError(Ending):
    pass


class ScopeTaken(Ending):
    pass


class LeadershipLost(Ending):
    pass


class WatchFailed(Ending):
    pass


def api_error(status: int, reason: str, message: str) -> ApiError:
    """Returns the error of the right kind for an answer of the API server."""
    kind: type[ApiError] = ApiError
    if status == 404:
        kind = NotFound
    elif status == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else Conflict
    elif status in (400, 422):
        kind = Invalid
    elif status == 403:
        kind = Refused
    return kind(status, reason, message)
