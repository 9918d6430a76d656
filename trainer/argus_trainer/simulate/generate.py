"""Simulates a fleet and writes it down: the same arguments give the same bytes."""

from datetime import UTC, datetime, timedelta

from argus_trainer.data.chunk_files import (
    FIRST_YEAR,
    LAST_YEAR,
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
MAX_HOURS = 10 * 365 * 24


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
    if hours < 1 or hours > MAX_HOURS:
        raise UsageError(f"--hours {hours}: use 1 to {MAX_HOURS} (ten years)")
    if seed < 0:
        raise UsageError(f"--seed {seed}: use 0 or more")
    check_cadence(cadence_seconds)
    _check_years(start, hours)
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


def _check_years(start: datetime, hours: int) -> None:
    years = f"data is of the years {FIRST_YEAR} to {LAST_YEAR}"
    if not FIRST_YEAR <= start.year <= LAST_YEAR:
        raise UsageError(f"--start {start.isoformat()}: {years}: choose another start")
    end = start + timedelta(hours=hours)
    if end.year > LAST_YEAR:
        raise UsageError(
            f"--start {start.isoformat()} with --hours {hours} ends in {end.year}; {years}: start "
            "earlier, or use fewer hours"
        )
