"""The plan: which pinned objects a run trains on, split by time, from a listing alone.

The idea: with a `chunk_manifest.json` or with names that tell times no Parquet file is opened.
Whoever reads the plan reads the same bytes, or learns which object changed.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from argus_contract.launch import Launch
from argus_contract.plan import PinnedObject, Plan, TimeWindow
from argus_contract.run_key import configuration_digest
from argus_trainer.data.listing import list_chunks
from argus_trainer.data.spans import DAY, usual_seconds
from argus_trainer.data.split import in_window, split_of
from argus_trainer.storage.store import Source

MOST_BLOCK_CHUNKS = 288
"""A day of five-minute chunks."""
MIX_WIDTH = 4
"""Four days from anywhere in the data are shuffled together: a batch of 128 sees several
days and all servers, while the memory stays that of four blocks and the next four."""


def make_plan(source: Source, launch: Launch, *, created_at: datetime, bundle_name: str) -> Plan:
    """Returns the plan of a run. Reads a listing and, if it is there, the manifest.

    Raises DataError for an empty prefix, broken layout, a window without data, or too few
    chunks for the windows.
    """
    data, model = launch.data, launch.model
    listed = list_chunks(source, data)
    objects = in_window(listed.objects, data.window, created_at=created_at, uri=source.uri)
    split = split_of(
        objects,
        data.split,
        model,
        cadence_seconds=data.cadence_seconds or listed.cadence_seconds,
        uri=source.uri,
    )
    return Plan(
        run_key=launch.run_key,
        created_at=created_at,
        data_uri=data.uri,
        window=TimeWindow(start=objects[0].start, end=objects[-1].end),
        objects=objects,
        manifest_digest=manifest_digest(objects),
        split=split,
        image=launch.image,
        seed=launch.training.seed,
        block_chunks=_block_chunks(objects),
        mix_width=MIX_WIDTH,
        bundle_name=bundle_name,
        configuration_digest=configuration_digest(data, model, launch.training),
        notes=listed.notes,
    )


def training_time(plan: Plan) -> timedelta:
    """Returns the span of the training part."""
    return plan.objects[plan.split.train_end - 1].end - plan.window.start


def manifest_digest(objects: Sequence[PinnedObject]) -> str:
    """Returns the data version: SHA-256 over the objects, each once, in the order given."""
    digest = hashlib.sha256()
    for pinned in {entry.key: entry for entry in objects}.values():
        digest.update(f"{pinned.key}\0{pinned.size}\0{pinned.etag}\n".encode())
    return digest.hexdigest()


def _block_chunks(objects: Sequence[PinnedObject]) -> int:
    """Returns the chunks of a day, or 1 for longer ones.

    A block's halo (32 hours at 288/96) then costs about as much as the block itself; much
    larger blocks mix no better and hold more memory.
    """
    return min(max(round(DAY / usual_seconds(objects)), 1), MOST_BLOCK_CHUNKS)
