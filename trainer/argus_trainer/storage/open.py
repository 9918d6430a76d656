"""From an address to a store: `s3://bucket/prefix`, `file:///folder` or a plain folder."""

from collections.abc import Callable
from urllib.parse import urlsplit

from argus_contract.launch import LaunchStorage
from argus_trainer.errors import ConfigurationError
from argus_trainer.storage.address import fault_of_address, folder_of
from argus_trainer.storage.local import LocalStore
from argus_trainer.storage.patience import never
from argus_trainer.storage.store import Source, Store


def open_store(uri: str, options: LaunchStorage, *, stopping: Callable[[], bool] = never) -> Store:
    """Returns the store at `uri`; nothing is contacted yet.

    Every wait of the store looks at `stopping` ten times a second and raises Preempted when it
    says True: also a request that is on its way, so a store that must still save after SIGTERM
    is opened with a `stopping` of its own (or none). Raises ConfigurationError for an address
    that cannot work.
    """
    fault = fault_of_address(uri)
    if fault:
        raise ConfigurationError(f"storage: {uri!r} {fault}")
    folder = folder_of(uri)
    if folder is None:
        _check_endpoint(options.endpoint)
        # s3fs takes half a second to import: a run on local folders never pays it.
        from argus_trainer.storage.s3 import S3Store

        return S3Store(uri, options, stopping=stopping)
    return LocalStore(folder)


def open_source(
    uri: str, options: LaunchStorage, *, stopping: Callable[[], bool] = never
) -> Source:
    """Returns the objects at `uri` for reading many of them; nothing is contacted yet.

    `stopping` and errors as in `open_store`.
    """
    return open_store(uri, options, stopping=stopping)


def _check_endpoint(endpoint: str | None) -> None:
    if endpoint is None:
        return
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"storage.endpoint (AWS_ENDPOINT_URL on a command line) {endpoint!r} is no address: "
            "use for example http://minio.storage:9000"
        )
