"""From an address to a store: `s3://bucket/prefix`, `file:///folder` or a plain folder.

Data is also read from other addresses (`open_source`).
"""

from collections.abc import Callable
from pathlib import Path
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
        _check_s3(options)
        # s3fs takes half a second to import: a run on local folders never pays it.
        from argus_trainer.storage.s3 import S3Store

        return S3Store(uri, options, stopping=stopping)
    return LocalStore(folder)


def open_source(
    uri: str, options: LaunchStorage, *, stopping: Callable[[], bool] = never
) -> Source:
    """Returns the objects at `uri` for reading many of them; nothing is contacted yet.

    Also `gs://`, `az://`, `abfs://`, and what fsspec knows, for example `memory://`. `stopping`
    and errors as in `open_store`.
    """
    fault = fault_of_address(uri, reading=True)
    if fault:
        raise ConfigurationError(f"storage: {uri!r} {fault}")
    if uri.startswith("s3://"):
        _check_s3(options)
        from argus_trainer.storage.s3_source import S3Source

        return S3Source(uri, options, stopping=stopping)
    if "://" in uri and not uri.startswith("file://"):
        _check_ca_bundle(options.ca_bundle)
        from argus_trainer.storage.foreign import ForeignSource

        return ForeignSource(uri, options, stopping=stopping)
    return open_store(uri, options, stopping=stopping)


def _check_s3(options: LaunchStorage) -> None:
    _check_endpoint(options.endpoint)
    _check_ca_bundle(options.ca_bundle)


def _check_ca_bundle(path: str | None) -> None:
    if path is None:
        return
    try:
        found = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"storage.caBundleRef: {path} cannot be read ({error}): check the ConfigMap"
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in found:
        raise ConfigurationError(
            f"storage.caBundleRef: {path} holds no certificate: use PEM, which begins with "
            "-----BEGIN CERTIFICATE-----"
        )


def _check_endpoint(endpoint: str | None) -> None:
    if endpoint is None:
        return
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"storage.endpoint (AWS_ENDPOINT_URL on a command line) {endpoint!r} is no address: "
            "use for example http://minio.storage:9000"
        )
