"""Records of several objects as two stored objects: tensors, and a small index of what is there.

Ten thousand records one by one would be ten thousand requests; all in one would have to be
held at once. The arrays of a pack's records stand one after another in few tensors
(safetensors: fast to load, and no pickle); the index (JSON) is all that a run needs to know
which objects it may leave unread.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load, save

from argus_contract.model import Model
from argus_contract.names import CONTRACT_VERSION
from argus_contract.plan import PinnedObject
from argus_trainer.data.moments import Moments
from argus_trainer.data.record import ObjectRecord, RecordForm, TargetRecord

Arrays = dict[str, NDArray[Any]]


class DamagedPackError(Exception):
    """A pack does not hold what its index says."""


class Origin(Model):
    """What an object would say about the whole run if it were the run's first."""

    cadence_seconds: int
    """Of its own rows."""
    features: tuple[str, ...]
    """Measured columns that it offers."""
    has_status: bool
    has_profile: bool


class Entry(Model):
    """One record of a pack."""

    object: str
    """`object_id` of the pinned object."""
    origin: Origin | None = None
    """None when only the object itself can tell."""
    rows: int
    oddities: Annotated[dict[str, int], Field(default_factory=dict)]


class PackIndex(Model):
    """What a pack holds and how its objects were read."""

    contract_version: int = CONTRACT_VERSION
    cadence_seconds: int
    features: tuple[str, ...]
    targets: tuple[str, ...]
    has_status: bool
    has_profile: bool
    labels: tuple[str, ...]
    """Names of servers, states and profiles; the tensors hold indices."""
    entries: tuple[Entry, ...]
    sha256: str
    """Of the tensors' bytes."""

    def is_of(self, form: RecordForm) -> bool:
        """Whether its records are those that a run of this form would make."""
        return form == RecordForm(
            cadence_seconds=self.cadence_seconds,
            features=self.features,
            targets=self.targets,
            has_status=self.has_status,
            has_profile=self.has_profile,
        )


def object_id(pinned: PinnedObject) -> str:
    """Returns the identity of one version of an object and of the time that it stands for."""
    times = (pinned.start.timestamp(), pinned.end.timestamp())
    identity = repr((pinned.key, pinned.size, pinned.etag, *times))
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def num_bytes(record: ObjectRecord) -> int:
    """Returns about how much a record adds to a pack."""
    targets = sum(24 * len(t.raw.count) + 28 * len(t.decades) + 100 for t in record.targets)
    return targets + record.observed_SB.nbytes + 8 * len(record.servers)


def packed(
    form: RecordForm, records: Sequence[tuple[PinnedObject, Origin | None, ObjectRecord]]
) -> tuple[PackIndex, bytes]:
    """Returns the index and the tensors of a pack; the same records are the same bytes."""
    labels: dict[str, int] = {}
    arrays = [_arrays(record, labels) for _, _, record in records]
    tensors: Arrays = {}
    for name in arrays[0]:
        parts = [entry[name] for entry in arrays]
        tensors[name] = np.concatenate(parts)
        tensors[f"{name}.ends"] = np.cumsum([len(part) for part in parts])
    content = save(tensors)
    index = PackIndex(
        cadence_seconds=form.cadence_seconds,
        features=form.features,
        targets=form.targets,
        has_status=form.has_status,
        has_profile=form.has_profile,
        labels=tuple(labels),
        entries=tuple(
            Entry(
                object=object_id(pinned),
                origin=origin,
                rows=record.rows,
                oddities=dict(record.oddities),
            )
            for pinned, origin, record in records
        ),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return index, content


def unpacked(index: PackIndex, content: bytes) -> list[ObjectRecord]:
    """Returns the records of a pack, in the order of its entries.

    Raises DamagedPackError when the tensors are not those that the index was written for.
    """
    if hashlib.sha256(content).hexdigest() != index.sha256:
        raise DamagedPackError("its tensors have another digest than its index says")
    try:
        tensors = load(content)
        labels = np.array(index.labels, dtype=object)
        names = [name for name in tensors if not name.endswith(".ends")]
        parts = {name: np.split(tensors[name], tensors[f"{name}.ends"][:-1]) for name in names}
        return [
            _record({name: parts[name][number] for name in names}, entry, labels, index)
            for number, entry in enumerate(index.entries)
        ]
    except (SafetensorError, LookupError, ValueError) as error:
        raise DamagedPackError(f"its tensors cannot be read: {error}") from error


def _arrays(record: ObjectRecord, labels: dict[str, int]) -> Arrays:
    arrays: Arrays = {
        "servers": _codes(record.servers, labels),
        "profiles": _codes(record.profiles, labels),
        "states": _codes(record.states, labels),
        "observed": record.observed_SB.ravel(),
        "observed_bytes": np.array(record.observed_SB.shape[1:]),
        **_moments("features", record.features),
    }
    for number, target in enumerate(record.targets):
        name = f"targets.{number}"
        arrays |= _moments(f"{name}.raw", target.raw)
        arrays |= _moments(f"{name}.inverse", target.inverse)
        arrays |= _moments(f"{name}.positive", target.positive)
        arrays[f"{name}.decades"] = target.decades.astype(np.int32)
        arrays[f"{name}.least_positive"] = np.array([target.least_positive])
    return arrays


def _record(
    arrays: Mapping[str, NDArray[Any]], entry: Entry, labels: NDArray[np.object_], index: PackIndex
) -> ObjectRecord:
    servers = _names(arrays["servers"], labels)
    return ObjectRecord(
        servers=servers,
        profiles=_names(arrays["profiles"], labels),
        states=_names(arrays["states"], labels),
        rows=entry.rows,
        oddities=entry.oddities,
        observed_SB=arrays["observed"].reshape(len(servers), *arrays["observed_bytes"]),
        features=_moments_in(arrays, "features"),
        targets=tuple(
            TargetRecord(
                raw=_moments_in(arrays, f"targets.{number}.raw"),
                decades=arrays[f"targets.{number}.decades"].astype(np.int64),
                inverse=_moments_in(arrays, f"targets.{number}.inverse"),
                positive=_moments_in(arrays, f"targets.{number}.positive"),
                least_positive=float(arrays[f"targets.{number}.least_positive"][0]),
            )
            for number in range(len(index.targets))
        ),
    )


def _codes(names: Sequence[str], labels: dict[str, int]) -> NDArray[np.int32]:
    return np.array([labels.setdefault(name, len(labels)) for name in names], dtype=np.int32)


def _names(codes: NDArray[np.int32], labels: NDArray[np.object_]) -> tuple[str, ...]:
    return tuple(labels[codes].tolist())


def _moments(name: str, moments: Moments) -> Arrays:
    return {
        f"{name}.count": moments.count,
        f"{name}.mean": moments.mean,
        f"{name}.squares": moments.squares,
    }


def _moments_in(arrays: Mapping[str, NDArray[Any]], name: str) -> Moments:
    return Moments(
        count=arrays[f"{name}.count"],
        mean=arrays[f"{name}.mean"],
        squares=arrays[f"{name}.squares"],
    )
