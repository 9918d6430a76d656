"""`argus generate`: the command line of the simulator."""

from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Annotated

import typer

from argus_trainer.errors import UsageError
from argus_trainer.wording import counted


def generate(
    servers: Annotated[int, typer.Option(help="Servers to simulate.")] = 20,
    hours: Annotated[int, typer.Option(help="Hours of data; 720 are 30 days.")] = 720,
    output: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix.")] = "./training/",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 42,
    cadence: Annotated[int, typer.Option(help="Seconds between two rows of a server.")] = 300,
    start: Annotated[
        str, typer.Option(help="First instant, ISO 8601; UTC unless it names an offset.")
    ] = "2025-12-01T00:00:00Z",
) -> None:
    """Simulate a fleet of servers and write its metrics as training data."""
    # Heavy imports wait until the command runs: --help stays fast.
    from argus_trainer.simulate.generate import generate as run
    from argus_trainer.storage.address import check_folder
    from argus_trainer.storage.environment import storage_from_environment
    from argus_trainer.storage.open import open_store

    check_folder("--output", output)
    store = open_store(output, storage_from_environment())
    written = run(
        store,
        servers=servers,
        hours=hours,
        seed=seed,
        cadence_seconds=cadence,
        start=_instant(start),
    )
    typer.echo(
        f"{counted(written.rows, 'row')} of {counted(servers, 'server')}, "
        f"{written.start:%Y-%m-%d %H:%M} to {written.end:%Y-%m-%d %H:%M} UTC, in "
        f"{counted(written.chunks, 'chunk')} "
        f"({written.bytes / 1e6:.1f} MB): {store.uri}"
    )


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--start {text} is no time: use for example 2025-12-01T00:00Z") from error
    # An offset cannot be taken off the first and the last day of all: generate refuses the year.
    if instant.tzinfo is None or instant.year in (MINYEAR, MAXYEAR):
        return instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC)
