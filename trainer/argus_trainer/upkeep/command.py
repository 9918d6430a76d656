"""`argus checkpoints` and `argus gc`: their command lines."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from argus_contract import layout
from argus_contract.exit_codes import ExitCode
from argus_trainer.errors import DataError, UsageError

if TYPE_CHECKING:
    from argus_trainer.storage.store import Store
    from argus_trainer.upkeep.models import Models

_DURATION = re.compile(r"^([1-9]\d{0,4})([hd])$")


class Form(StrEnum):
    """How a command answers."""

    TABLE = "table"
    JSON = "json"


Uri = Annotated[
    str,
    typer.Argument(
        metavar="URI",
        help="Folder or s3://bucket/prefix of checkpoints (of `argus train`: "
        "OUTPUT/checkpoints), or of one run below it.",
    ),
]
ModelsUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI", help="Where the models of these runs go: tells which are published."
    ),
]
Output = Annotated[Form, typer.Option(help="A table for people, or JSON for programs.")]


def checkpoints(
    uri: Uri,
    models: ModelsUri = None,
    output: Output = Form.TABLE,
    verify: Annotated[
        bool, typer.Option(help="Read every state and bundle and compare them with their digests.")
    ] = True,
) -> None:
    """Show runs, attempts and states of a checkpoint prefix, and which state a resume takes.

    Ends with 65 when a record, a state or a published bundle is damaged.
    """
    from argus_trainer.upkeep.survey import survey
    from argus_trainer.upkeep.tell import a_console, tell_prefix

    prefix, only = _place(uri)
    report = survey(
        _opened(prefix), _opener(prefix), only=only, models=_models(models), verify=verify
    )
    if not report.runs:
        raise _nothing_at(uri)
    if output is Form.JSON:
        typer.echo(report.model_dump_json(by_alias=True, exclude_none=True, indent=2))
    else:
        tell_prefix(report, a_console())
    if report.unreadable_publications or any(run.is_damaged for run in report.runs):
        raise typer.Exit(int(ExitCode.DATA))


def gc(
    uri: Uri,
    models: ModelsUri = None,
    older_than: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="A run that is not published is dead after so long without a sign of life: "
            "30d or 12h.",
        ),
    ] = "30d",
    delete: Annotated[
        bool, typer.Option("--delete", help="Really remove; without it nothing is changed.")
    ] = False,
    statistics: Annotated[
        bool,
        typer.Option(
            "--statistics", help="Also remove stats/: later runs read all of their data again."
        ),
    ] = False,
    output: Output = Form.TABLE,
) -> None:
    """Remove the checkpoints of runs that are published or dead. Shows what it would do."""
    from argus_trainer.upkeep.cleaning import clean
    from argus_trainer.upkeep.tell import a_console, tell_cleaning

    age = _age(older_than)
    prefix, only = _place(uri)
    if statistics and only:
        raise UsageError(f"--statistics: stats/ is shared by all runs: name {prefix} as URI")
    cleaning = clean(
        _opened(prefix),
        _opener(prefix),
        only=only,
        models=_models(models),
        now=datetime.now(UTC),
        older_than=age,
        statistics=statistics,
        delete=delete,
    )
    if not cleaning.runs:
        raise _nothing_at(uri)
    if output is Form.JSON:
        typer.echo(cleaning.model_dump_json(by_alias=True, exclude_none=True, indent=2))
    else:
        tell_cleaning(cleaning, a_console())


def _nothing_at(uri: str) -> DataError:
    return DataError(
        f"URI {uri}: no run has checkpoints there: name the prefix of checkpoints (of "
        "`argus train`: OUTPUT/checkpoints)"
    )


def _place(uri: str) -> tuple[str, str | None]:
    """Returns the checkpoint prefix and, if the address is that of one run, its key."""
    from argus_trainer.storage.address import check_address

    check_address("URI", uri)
    prefix, _, last = uri.rstrip("/").rpartition("/")
    return (prefix, last) if prefix and layout.is_run(last) else (uri.rstrip("/"), None)


def _age(text: str) -> timedelta:
    match = _DURATION.match(text)
    if match is None:
        raise UsageError(f"--older-than {text}: write days or whole hours above 0, like 30d or 12h")
    count = int(match[1])
    return timedelta(days=count) if match[2] == "d" else timedelta(hours=count)


def _opened(uri: str) -> "Store":
    from argus_trainer.storage.environment import storage_from_environment
    from argus_trainer.storage.open import open_store

    return open_store(uri, storage_from_environment())


def _opener(prefix: str) -> "Callable[[str], Store]":
    return lambda run_key: _opened(f"{prefix}/{run_key}")


def _models(uri: str | None) -> "Models | None":
    if uri is None:
        return None
    from argus_trainer.storage.address import check_address
    from argus_trainer.upkeep.models import Models

    check_address("--models", uri)
    store = _opened(uri)
    if not store.list_objects(layout.BUNDLE_NAMES):
        # A slip here would make every published run an unpublished one, which gc removes.
        raise DataError(
            f"--models {uri}: no run has taken a name there: name the prefix of the models"
        )
    return Models(store)
