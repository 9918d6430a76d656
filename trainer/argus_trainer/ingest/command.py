"""`argus import`: the command line of the importer."""

import re
from pathlib import Path
from typing import Annotated

import typer

from argus_trainer.errors import UsageError
from argus_trainer.wording import counted

_COLUMN = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")


def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files, or folders of them.")],
    output: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix.")] = "./training/",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="OWN=GUIDE, for example value=cpu_user_pct; repeatable. A name that is not of "
            "the guide can be a target.",
        ),
    ] = None,
    timestamp_column: Annotated[str, typer.Option(help="Column of the clock.")] = "timestamp",
    timestamp_format: Annotated[
        str | None, typer.Option(help="strptime format of the clock. Default: ISO 8601.")
    ] = None,
    timestamp_unit: Annotated[
        str, typer.Option(help="Unit of a clock in numbers since 1970: s, ms, us, ns.")
    ] = "s",
    time_zone: Annotated[str, typer.Option(help="Zone of times that name none.")] = "UTC",
    server_column: Annotated[str, typer.Option(help="Column of the server.")] = "server_name",
    server_from_file: Annotated[
        bool, typer.Option("--server-from-file", help="Each file is one server, named like it.")
    ] = False,
    cadence: Annotated[int, typer.Option(help="Seconds of the grid that ticks are put on.")] = 300,
) -> None:
    """Rewrite your own metric files into training data."""
    # Heavy imports wait until the command runs: --help stays fast.
    from argus_trainer.ingest.metrics import import_metrics
    from argus_trainer.ingest.own_names import check_name, note_on
    from argus_trainer.ingest.read import Reading
    from argus_trainer.storage.address import check_folder
    from argus_trainer.storage.environment import storage_from_environment
    from argus_trainer.storage.open import open_store

    if timestamp_unit not in ("s", "ms", "us", "ns"):
        raise UsageError(f"--timestamp-unit {timestamp_unit}: use s, ms, us or ns")
    check_folder("--output", output)
    store = open_store(output, storage_from_environment())
    names = _names(columns or [])
    for own, name in names.items():
        check_name(own, name)
    for note in filter(None, map(note_on, names.values())):
        typer.echo(note)
    reading = Reading(
        names=names,
        timestamp_column=timestamp_column,
        timestamp_format=timestamp_format,
        timestamp_unit=timestamp_unit,
        time_zone=time_zone,
        server_column=None if server_from_file else server_column,
    )
    imported = import_metrics(_sources(files), store, reading, cadence_seconds=cadence)
    written = imported.written
    typer.echo(
        f"{counted(written.rows, 'row')} of {counted(imported.servers, 'server')} with "
        f"{', '.join(imported.metrics)}, {written.start:%Y-%m-%d %H:%M} to "
        f"{written.end:%Y-%m-%d %H:%M} UTC, in {counted(written.chunks, 'chunk')} "
        f"({written.bytes / 1e6:.1f} MB): {store.uri}"
    )
    for count, what in (
        (imported.repeated, "repeated a server and a time: the last one counts"),
        (imported.merged, "shared a place on the grid with others: the mean counts"),
        (imported.without_time, "had a time that does not exist in the zone: left out"),
    ):
        if count:
            typer.echo(f"{counted(count, 'row')} {what}")


def _names(pairs: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for pair in pairs:
        own, separator, guide = pair.partition("=")
        if not separator or not own or not _COLUMN.match(guide):
            raise UsageError(f"--map {pair}: write OWN=GUIDE, for example value=cpu_user_pct")
        names[own] = guide
    return names


def _sources(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix in (".csv", ".parquet"))
        else:
            found.append(path)
    return found
