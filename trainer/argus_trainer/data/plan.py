"""The plan: which pinned objects a run trains on, split by time, from a listing alone.

The idea: with a `chunk_manifest.json` no Parquet file is opened; without one, the names tell
the times. Whoever reads the plan reads the same bytes, or learns which object changed.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from argus_contract.launch import Launch
from argus_contract.plan import PinnedObject, Plan, Split
from argus_contract.run_key import canonical
from argus_contract.spec import ModelSpec
from argus_trainer.data.chunk_files import CHUNK_SECONDS, MANIFEST, chunk_start, parse_manifest
from argus_trainer.errors import DataError
from argus_trainer.storage.store import ObjectInfo, Store

BLOCK_CHUNKS = 12
"""A day of two-hour chunks: a block's halo (32 hours at 288/96) then costs about as much as
the block itself; much larger blocks mix no better and hold more memory."""
MIX_WIDTH = 4
"""Four days from anywhere in the data are shuffled together: a batch of 128 sees several
days and all servers, while the memory stays that of four blocks and the next four."""
TRAIN_SHARE = 0.7
VALIDATION_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """The chunks of a dataset, in order of time."""

    objects: tuple[PinnedObject, ...]
    cadence_seconds: int | None
    """From the manifest, if there is one."""


def make_plan(store: Store, launch: Launch, *, created_at: datetime, bundle_name: str) -> Plan:
    """Returns the plan of a run. Reads a listing and, if it is there, the manifest.

    Raises DataError for an empty prefix, broken layout, or too few chunks for the windows.
    """
    listed = _listed(store)
    return Plan(
        run_key=launch.run_key,
        created_at=created_at,
        data_uri=launch.data.uri,
        objects=listed.objects,
        manifest_digest=_manifest_digest(listed.objects),
        split=_split(store, listed, launch.model),
        image=launch.image,
        seed=launch.training.seed,
        block_chunks=BLOCK_CHUNKS,
        mix_width=MIX_WIDTH,
        bundle_name=bundle_name,
        configuration_digest=_digest(
            {
                "data": launch.data.to_wire(),
                "model": canonical(launch.model),
                "training": canonical(launch.training),
            }
        ),
    )


def training_time(plan: Plan) -> timedelta:
    """Returns the span of the training part."""
    return plan.objects[plan.split.train_end - 1].end - plan.objects[0].start


def _listed(store: Store) -> _Listed:
    listing = store.list_objects()
    manifests = [entry for entry in listing if entry.key.rpartition("/")[2] == MANIFEST]
    if len(manifests) > 1:
        raise DataError(
            f"data.uri {store.uri} holds {len(manifests)} datasets ({manifests[0].key}, "
            f"{manifests[1].key}): name the folder of one"
        )
    for entry in manifests:
        listed = _from_manifest(store, entry, listing)
        if listed is not None:
            return listed
    return _Listed(objects=_from_names(store, listing), cadence_seconds=None)


def _from_manifest(store: Store, entry: ObjectInfo, listing: list[ObjectInfo]) -> _Listed | None:
    manifest = parse_manifest(store.get(entry.key, etag=entry.etag), f"{store.uri}/{entry.key}")
    if manifest is None:
        return None
    folder = entry.key.removesuffix(MANIFEST)
    info_of_key = {info.key: info for info in listing}
    objects = []
    for chunk in manifest.chunks:
        info = info_of_key.get(folder + chunk.file)
        if info is None or info.size != chunk.bytes:
            found = "is absent" if info is None else f"has {info.size} bytes, not {chunk.bytes}"
            raise DataError(
                f"{store.uri}/{folder}{chunk.file} {found}, unlike {MANIFEST} says: "
                "restore it or write the dataset again"
            )
        objects.append(
            PinnedObject(
                key=info.key, size=info.size, etag=info.etag, start=chunk.start, end=chunk.end
            )
        )
    if not objects:
        raise DataError(f"{store.uri}/{entry.key} lists no chunk: write the dataset again")
    objects.sort(key=lambda pinned: (pinned.start, pinned.key))
    return _Listed(objects=tuple(objects), cadence_seconds=manifest.cadence_seconds)


def _from_names(store: Store, listing: list[ObjectInfo]) -> tuple[PinnedObject, ...]:
    files = [info for info in listing if info.key.endswith(".parquet")]
    if not files:
        raise DataError(
            f"data.uri {store.uri} holds no Parquet file ({len(listing)} objects in all): "
            "check the prefix, or fill it with argus generate or argus import"
        )
    starts: dict[str, datetime] = {}
    for info in files:
        start = chunk_start(info.key)
        if start is None:
            raise DataError(
                f"{store.uri}/{info.key}: no {MANIFEST} is there and the name states no time: "
                "name chunks chunk_YYYYMMDD_HH.parquet, or rewrite them with argus import"
            )
        starts[info.key] = start
    ordered = sorted(set(starts.values()))
    apart = [after - before for before, after in pairwise(ordered)]
    length = min(apart, default=timedelta(seconds=CHUNK_SECONDS))
    return tuple(
        PinnedObject(
            key=info.key,
            size=info.size,
            etag=info.etag,
            start=starts[info.key],
            end=starts[info.key] + length,
        )
        for info in sorted(files, key=lambda info: (starts[info.key], info.key))
    )


def _split(store: Store, listed: _Listed, model: ModelSpec) -> Split:
    """Cuts 70/20/10 by chunks of time, leaving room for one window in each part."""
    starts = sorted({pinned.start for pinned in listed.objects})
    needs_train, needs_validation = _needs(listed, model)
    parts = _parts(len(starts), needs_train, needs_validation)
    if parts is None:
        enough = len(starts)
        while _parts(enough, needs_train, needs_validation) is None:
            enough += 1
        raise DataError(
            f"data.uri {store.uri} holds {len(starts)} chunks; windows of "
            f"{model.encoder_length}+{model.prediction_length} steps need at least {enough} "
            "(70 % training, 20 % validation, 10 % holdout): record longer, or lower "
            "model.encoderLength and model.predictionLength"
        )
    num_train, num_validation = parts
    borders = (starts[num_train], starts[num_train + num_validation])
    train_end, validation_end = (
        sum(pinned.start < border for pinned in listed.objects) for border in borders
    )
    return Split(train_end=train_end, validation_end=validation_end)


def _needs(listed: _Listed, model: ModelSpec) -> tuple[int, int]:
    """Returns the least chunks of training and validation; 1 each when the cadence is unknown."""
    if listed.cadence_seconds is None:
        return 1, 1
    seconds = max((p.end - p.start).total_seconds() for p in listed.objects)
    steps = seconds / listed.cadence_seconds
    window = model.encoder_length + model.prediction_length
    return math.ceil(window / steps), math.ceil(model.prediction_length / steps)


def _parts(chunks: int, needs_train: int, needs_validation: int) -> tuple[int, int] | None:
    """Returns (training, validation) chunks, or None when there are too few."""
    validation = max(round(chunks * VALIDATION_SHARE), needs_validation, 1)
    holdout = max(chunks - round(chunks * (TRAIN_SHARE + VALIDATION_SHARE)), 1)
    train = chunks - validation - holdout
    return (train, validation) if train >= max(needs_train, 1) else None


def _manifest_digest(objects: tuple[PinnedObject, ...]) -> str:
    digest = hashlib.sha256()
    for pinned in objects:
        digest.update(f"{pinned.key}\0{pinned.size}\0{pinned.etag}\n".encode())
    return digest.hexdigest()


def _digest(document: object) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
