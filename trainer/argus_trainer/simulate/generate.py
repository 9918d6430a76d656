"""Simulates a fleet and writes it down: the same arguments give the same bytes."""

from datetime import UTC, datetime

from argus_trainer.data.chunk_files import (
    Written,
    check_cadence,
    chunk_name,
    chunk_starts,
    write_dataset,
)
from argus_trainer.errors import UsageError
from argus_trainer.simulate.fleet import make_fleet
from argus_trainer.simulate.record import record
from argus_trainer.storage.store import Store

DEFAULT_START = datetime(2025, 12, 1, tzinfo=UTC)
"""Fixed, so that the bytes do not depend on the day on which they are made."""


def generate(
    output: Store,
    *,
    servers: int,
    hours: int,
    seed: int,
    cadence_seconds: int = 300,
    start: datetime = DEFAULT_START,
) -> Written:
    """Writes `hours` hours of `servers` servers from `start` (with a zone) to `output`.

    Raises UsageError for arguments that make no dataset, and when `output` holds another one.
    """
    if servers < 1 or servers > 9_999:
        raise UsageError(f"--servers {servers}: use 1 to 9999")
    if hours < 1:
        raise UsageError(f"--hours {hours}: use at least 1")
    if seed < 0:
        raise UsageError(f"--seed {seed}: use 0 or more")
    check_cadence(cadence_seconds)
    if start.timestamp() % cadence_seconds:
        raise UsageError(f"--start {start.isoformat()} is not on the {cadence_seconds} s grid")
    fleet = make_fleet(servers, hours, seed)
    end = datetime.fromtimestamp(start.timestamp() + hours * 3600, UTC)
    return write_dataset(
        output,
        record(fleet, start, hours, seed, cadence_seconds),
        names=[chunk_name(opens) for opens in chunk_starts(start, end)],
        cadence_seconds=cadence_seconds,
        metadata={"source": "argus generate", "servers": servers, "hours": hours, "seed": seed},
    )
