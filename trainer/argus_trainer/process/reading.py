"""The options of a command line that say which data is read and how, and what they mean.

Each option is one field of `spec.data`, but for columns: `--map`, `--factor` and
`--aggregate` together make one list.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from argus_contract.data_spec import OnChange
from argus_trainer.errors import UsageError

PANEL = "Data: which, and how it is read"

Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OWN=NAME",
        help="Column of the files under Argus's name, for example ratio=mem_used_pct; repeatable.",
        rich_help_panel=PANEL,
    ),
]
Factor = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=NUMBER",
        help="The recorded value times this is the value in Argus's unit, for example "
        "mem_used_pct=100; repeatable.",
        rich_help_panel=PANEL,
    ),
]
AggregateOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=HOW",
        help="With --cadence: Mean (the default), Last, Max, Min or Sum of the rows of a step; "
        "repeatable.",
        rich_help_panel=PANEL,
    ),
]
Servers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Use servers whose names fit, for example 'web-*'; repeatable.",
        rich_help_panel=PANEL,
    ),
]
ExcludeServers = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Leave servers out; repeatable.", rich_help_panel=PANEL),
]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        help="First instant of the data, ISO 8601; UTC unless it names an offset.",
        rich_help_panel=PANEL,
    ),
]
End = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="First instant that is not used any more.", rich_help_panel=PANEL
    ),
]
LookbackDays = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=36_525,
        help="Use the newest days, instead of --start and --end.",
        rich_help_panel=PANEL,
    ),
]
ValidationPercent = Annotated[
    int, typer.Option(help="Share of the time that validates.", rich_help_panel=PANEL)
]
HoldoutPercent = Annotated[
    int,
    typer.Option(
        help="Newest share of the time: withheld, for a test of your own.", rich_help_panel=PANEL
    ),
]
Cadence = Annotated[
    int,
    typer.Option(
        help="Seconds of a step onto which rows are gathered; 0: as recorded.",
        rich_help_panel=PANEL,
    ),
]
TimeZone = Annotated[
    str, typer.Option(help="Zone of hour, weekday and weekend.", rich_help_panel=PANEL)
]
MaxGapSteps = Annotated[
    int,
    typer.Option(help="Longest gap in a window, in steps; it is filled.", rich_help_panel=PANEL),
]
MinObservedPercent = Annotated[
    int,
    typer.Option(help="Share of a window's steps that must be recorded.", rich_help_panel=PANEL),
]
OnChangeOption = Annotated[
    OnChange,
    typer.Option(
        case_sensitive=False,
        help="When an object changed after the start: fail, or take it as it is now.",
        rich_help_panel=PANEL,
    ),
]


def window_of(start: str | None, end: str | None, lookback_days: int | None) -> dict[str, object]:
    """Returns `data.window`. Raises UsageError for a date that is none."""
    given: dict[str, object | None] = {
        "start": _instant("--start", start),
        "end": _instant("--end", end),
        "lookbackSeconds": lookback_days and int(timedelta(days=lookback_days).total_seconds()),
    }
    return {field: value for field, value in given.items() if value is not None}


def columns_of(
    own_names: Sequence[str], factors: Sequence[str], aggregates: Sequence[str]
) -> list[dict[str, str]]:
    """Returns `data.columns`. Raises UsageError for a pair that cannot be read."""
    columns: dict[str, dict[str, str]] = {}
    for option, pairs, field in (
        ("--map", own_names, "from"),
        ("--factor", factors, "factor"),
        ("--aggregate", aggregates, "aggregate"),
    ):
        for pair in pairs:
            # The name in the files may hold any character, the one in Argus no equals sign.
            left, sign, right = pair.rpartition("=") if field == "from" else pair.partition("=")
            name, value = (right, left) if field == "from" else (left, right)
            if not sign or not name or not value:
                form = "OWN=NAME" if field == "from" else f"NAME={field.upper()}"
                raise UsageError(f"{option} {pair}: write {form}")
            column = columns.setdefault(name, {"name": name})
            if field in column:
                raise UsageError(f"{option} {pair}: {name} is given twice: keep one")
            column[field] = value
    return list(columns.values())


def _instant(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{option} {text} is no time: use for example 2026-01-31 or 2026-01-31T10:00Z"
        ) from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
