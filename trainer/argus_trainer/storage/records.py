"""Reading and writing JSON records, with their contract version checked first.

A record of another contract version is refused and never half understood: a newer trainer
may have written what this one would misread.
"""

import json
from typing import TypeVar

from pydantic import ValidationError

from argus_contract.digests import wire_bytes
from argus_contract.model import Model
from argus_contract.names import CONTRACT_VERSION
from argus_trainer.errors import ConfigurationError, DataError
from argus_trainer.storage.store import Store
from argus_trainer.wording import problems_of

M = TypeVar("M", bound=Model)


def write_new(store: Store, key: str, record: Model) -> None:
    """Writes a record that must not exist yet. Raises ObjectExists."""
    store.put_new(key, wire_bytes(record))


def read(store: Store, key: str, kind: type[M]) -> M:
    """Returns the record at `key`. Raises ObjectNotFound, and what `parse` raises."""
    return parse(store.get(key), f"{store.uri}/{key}", kind)


def parse(data: bytes, address: str, kind: type[M]) -> M:
    """Returns the record in `data`; `address` names it in errors.

    Raises ConfigurationError for another contract version, DataError for a damaged record.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        raise DataError(f"{address} is no JSON ({error}): it was damaged or replaced") from error
    version = document.get("contractVersion") if isinstance(document, dict) else None
    if version != CONTRACT_VERSION:
        raise ConfigurationError(
            f"{address} has contractVersion {version!r} and this trainer reads "
            f"{CONTRACT_VERSION}: go on with the image that began the run, or start a new run "
            "with another runToken"
        )
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise DataError(
            f"{address} is no valid {kind.__name__}: {problems_of(error)}: it was damaged or "
            "replaced; restore it, or start a new run with another runToken"
        ) from error
