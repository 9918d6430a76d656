"""What an error of the S3 client means for the run: one decision, no I/O.

Codes first, HTTP statuses second: S3-compatible servers agree on the statuses and less on
the codes.
"""

from enum import Enum, auto

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004  (botocore's own, no OSError)
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)


class Fault(Enum):
    """Kinds of failure, told apart by what to do next."""

    MISSING_OBJECT = auto()
    MISSING_BUCKET = auto()
    EXISTS = auto()
    """If-None-Match found an object."""
    DENIED = auto()
    NO_CREDENTIALS = auto()
    UNTRUSTED = auto()
    """The server shows a certificate that no known authority vouches for."""
    TEMPORARY = auto()
    """Worth another try."""
    NOT_IMPLEMENTED = auto()
    """The server does not know what was asked, for example If-None-Match on PUT."""
    REFUSED = auto()
    """The same request will fail again."""


_DENIED_CODES = frozenset(
    {
        "AccessDenied",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_NETWORK = (
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
)
_TEMPORARY_STATUSES = frozenset({408, 409, 425, 429})
"""409 on a conditional PUT says that another one runs at the same time: ask again."""


def fault_of(error: Exception) -> Fault:
    """Returns what `error` means; a failure of the network is temporary, a certificate is not."""
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return Fault.NO_CREDENTIALS
    if isinstance(error, SSLError) and isinstance(
        error.kwargs.get("error"), aiohttp.ClientConnectorCertificateError
    ):
        return Fault.UNTRUSTED
    if isinstance(error, BotoCoreError) and not isinstance(error, _NETWORK):
        return Fault.REFUSED
    if not isinstance(error, ClientError):
        return Fault.TEMPORARY
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return Fault.MISSING_BUCKET
    if code == "NoSuchKey" or status == 404:
        return Fault.MISSING_OBJECT
    if code == "PreconditionFailed" or status == 412:
        return Fault.EXISTS
    if code in _DENIED_CODES or status in (401, 403):
        return Fault.DENIED
    if status == 501:
        return Fault.NOT_IMPLEMENTED
    if status >= 500 or status in _TEMPORARY_STATUSES:
        return Fault.TEMPORARY
    return Fault.REFUSED
