"""What no waiting heals, told from an outage: only until a store has answered for the first time.

A host that does not exist, no route, no keys: after an answer each of them is an outage like any
other. Before it, it is most likely a wrong address, and is asked again only for as long as the
network and the metadata service of a new pod may need to come up.
"""

import errno
import re
import socket
from collections.abc import Iterator

from argus_trainer.errors import ConfigurationError, StorageDenied

FIRST_CONTACT_SECONDS = 15.0
_NO_HOST = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})
"""The name server says so; one that does not answer is an outage."""
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})

# obstore tells causes in text alone: its own words, Rust's and the C library's.
_TOKEN_TEXT = "Error performing token request"
_NO_HOST_TEXT = re.compile(
    "failed to lookup address information: (Name or service not known|No address associated)"
)
_NO_ROUTE_TEXT = re.compile("NetworkUnreachable|HostUnreachable")


def lost_cause(error: Exception, where: str) -> ConfigurationError | StorageDenied | None:
    """Returns the error that waiting at `where` would end in, or None when it may heal."""
    text = str(error)
    if _TOKEN_TEXT in text:
        return StorageDenied(
            f"storage: no keys for {where}, and the metadata service of a cloud gives none: name a "
            "service account in storage.serviceAccountName, or set the variables that the "
            "store's own tools read (GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_KEY)"
        )
    causes = [cause for cause in _chain(error) if isinstance(cause, OSError)]
    if _NO_HOST_TEXT.search(text) or any(
        isinstance(cause, socket.gaierror) and cause.errno in _NO_HOST for cause in causes
    ):
        return ConfigurationError(
            f"storage: the host of {where} does not exist: correct storage.endpoint or the address"
        )
    if _NO_ROUTE_TEXT.search(text) or any(
        not isinstance(cause, socket.gaierror) and cause.errno in _NO_ROUTE for cause in causes
    ):
        return ConfigurationError(
            f"storage: there is no route to {where}: correct storage.endpoint or the address, or "
            "check the network policy and the proxy"
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
