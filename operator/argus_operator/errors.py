"""Errors of the operator. All of them are temporary: the queue tries again.

OperatorError
  ApiError            the API server answered with an error status
    NotFound          404
    AlreadyExists     409 on create
    Conflict          409 on a write with an old resourceVersion
    Refused           403: quota, admission, Pod Security, rights
      Invalid         400 or 422: what was sent is wrong in itself
  ApiUnreachable      no answer in time
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
