"""The part of a run's spec that says which recorded metrics it learns from, and how they are read.

Shared by ArgusTrainingJob and by the launch document, so that a run on a command line says
the same things in the same words.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from argus_contract.decimals import DecimalString, value_of
from argus_contract.model import Model, Time

MAX_DATA_COLUMNS = 64
MAX_PATTERNS = 64
NO_METRICS = ("timestamp", "server_name", "status", "profile")
"""Columns that are no metric: they have no unit and are never aggregated."""

ColumnName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", min_length=1, max_length=63)
]
"""Name of a column as Argus knows it."""
OwnName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
"""Name of a column in the files of a user: any text."""
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=253)]
"""A shell-style pattern: `*` any text, `?` one character, `[ab]` one of these."""


TIME_PATTERN = (
    r"^[12][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
"""What the rules of the CRD can read. Its format date-time takes more, such as a small t: each
write of such a resource fails then, also of its status."""


def _in_its_form(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(TIME_PATTERN, value):
        raise ValueError(
            f"{value!r}: a time needs a zone and a year from 1000 to 2999: write it as "
            "2026-01-31T10:00:00Z"
        )
    return value


def _in_whole_seconds(time: datetime) -> datetime:
    # A zone may lead out of what is read again: in UTC, by the trainer.
    if not 1000 <= time.year <= 2999:
        raise ValueError(f"{time.isoformat()} has no year from 1000 to 2999 in UTC: change it")
    return time.replace(microsecond=0)


WholeSeconds = Annotated[
    Time,
    Field(json_schema_extra={"pattern": TIME_PATTERN}),
    BeforeValidator(_in_its_form),
    AfterValidator(_in_whole_seconds),
]
"""An instant as it is written: to the second."""


class WindowSpec(Model):
    """The time that a run learns from; absolute, or looking back from the newest chunk."""

    start: WholeSeconds | None = None
    """First instant of the data, absolute. Default: the oldest chunk. Not together with
    lookbackSeconds. Example: 2026-01-01T00:00:00Z."""
    end: WholeSeconds | None = None
    """First instant after the data, absolute. Default: the newest chunk. Not together with
    lookbackSeconds. Example: 2026-02-01T00:00:00Z."""
    lookback_seconds: Annotated[int | None, Field(ge=1, le=3_155_760_000)] = None
    """How far the data reaches back from its end. Example: 2592000 for 30 days."""
    end_offset_seconds: Annotated[int | None, Field(ge=0, le=3_155_760_000)] = None
    """How far before the moment of planning the data ends, for rows that arrive late; only
    together with lookbackSeconds. Default: the length of one chunk."""

    @model_validator(mode="after")
    def _is_one_form(self) -> "WindowSpec":
        looks_back = self.lookback_seconds is not None
        if looks_back and (self.start or self.end):
            raise ValueError(
                "window.start or window.end excludes window.lookbackSeconds: keep one form"
            )
        if self.end_offset_seconds is not None and not looks_back:
            raise ValueError(
                "window.endOffsetSeconds needs window.lookbackSeconds: set it, or use end"
            )
        if self.start and self.end and self.start >= self.end:
            raise ValueError("window.start must lie before window.end: exchange them")
        return self


class SplitSpec(Model):
    """Parts of the data by time, at chunk borders: training, then validation, then holdout."""

    validation_percent: Annotated[int, Field(ge=1, le=80)] = 20
    """Share of the time, just before the holdout, that validates after each epoch, in percent.
    Default 20."""
    holdout_percent: Annotated[int, Field(ge=0, le=80)] = 10
    """Share of the time, the newest, that neither training nor validation sees, in percent.
    Argus only withholds it, for a test of your own, and evaluates nothing on it; the run's
    plan.json lists its objects last. 0 withholds nothing. Default 10."""

    @model_validator(mode="after")
    def _leaves_training(self) -> "SplitSpec":
        if self.validation_percent + self.holdout_percent > 90:
            raise ValueError(
                f"split.validationPercent {self.validation_percent} and holdoutPercent "
                f"{self.holdout_percent} leave less than 10 percent to train on: lower one"
            )
        return self


class Aggregate(StrEnum):
    """How rows of one step become one value when data is resampled."""

    MEAN = "Mean"
    LAST = "Last"
    MAX = "Max"
    MIN = "Min"
    SUM = "Sum"


class ColumnSpec(Model):
    """One column of the files under another name, in another unit, or with its own aggregate."""

    name: ColumnName
    """Name in Argus: a metric, or timestamp, server_name, status or profile.
    Example: mem_used_pct."""
    source: Annotated[OwnName | None, Field(alias="from")] = None
    """Name of the column in the files. Default: the same as name. Example: node_memory_ratio."""
    factor: DecimalString = "1"
    """The recorded value times this is the value in Argus's unit; a decimal string, metrics
    only. Default "1". Example: "100" for a ratio that becomes a percentage."""
    aggregate: Aggregate = Aggregate.MEAN
    """With cadenceSeconds, how rows of one step become one value; metrics only,
    of status and profile the last one counts. Default Mean."""

    @model_validator(mode="after")
    def _factor_fits(self) -> "ColumnSpec":
        if value_of(self.factor) <= 0:
            raise ValueError(f"factor of column {self.name} is {self.factor}: use one above 0")
        is_plain = self.factor == "1" and self.aggregate is Aggregate.MEAN
        if self.name in NO_METRICS and not is_plain:
            raise ValueError(
                f"column {self.name} is no metric and takes neither factor nor aggregate (of "
                "labels the last one of a step counts): remove them"
            )
        return self


Patterns = Annotated[
    tuple[Pattern, ...],
    Field(max_length=MAX_PATTERNS),
    # Their order means nothing: another one is the same run.
    AfterValidator(lambda patterns: tuple(sorted(set(patterns)))),
]


class ServersSpec(Model):
    """Which servers take part, by patterns of their names."""

    include: Patterns = ()
    """A server takes part when one of these fits. Default: all. Example: ["web-*"]."""
    exclude: Patterns = ()
    """A server that one of these fits is left out. Example: ["*-canary"]."""


class GapsSpec(Model):
    """What counts as a gap and how much of a window must have been seen."""

    max_gap_steps: Annotated[int, Field(ge=0, le=1000)] = 3
    """Longest gap that is filled with the last row, in steps; a window with a longer one is
    not used. Filled steps weigh nothing in the loss. Default 3."""
    min_observed_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """Share of the encoder's and of the decoder's steps that must have been recorded, in
    percent. Default 80."""


class OnChange(StrEnum):
    """What to do when an object is another one than when the run was planned."""

    FAIL = "Fail"
    """End with exit 65, naming the object."""
    REPIN = "Repin"
    """Take it as it is now and mark the run as not exact."""


class ValidationPolicy(StrEnum):
    """What the verdict on the data decides."""

    OFF = "Off"
    """No planning pod: the training pod plans itself."""
    WARN = "Warn"
    """Data below a limit is told of, and trained on."""
    ENFORCE = "Enforce"
    """Data below a limit ends the run before a GPU is asked for."""


class ValidationSpec(Model):
    """What the training part of the data must be like."""

    policy: ValidationPolicy = ValidationPolicy.WARN
    """Warn and Enforce plan in a small pod on a CPU, and only then ask for the trainer's
    resources. Below a limit, Warn tells of it and goes on, Enforce fails the run. Off plans in
    the trainer's pod; write it in quotes, YAML takes Off for false. Default Warn."""
    min_rows: Annotated[int | None, Field(ge=1, le=1_000_000_000_000)] = None
    """Least rows. Default: not checked. Example: 100000."""
    min_servers: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Least servers. Default: not checked. Example: 10."""
    min_coverage_percent: Annotated[int | None, Field(ge=1, le=100)] = None
    """Least share of the steps of all servers that have a row, in percent.
    Default: not checked. Example: 90."""
    max_missing_percent: Annotated[int | None, Field(ge=0, le=99)] = None
    """Largest share of rows in which one and the same metric has no value, in percent.
    Default: not checked. Example: 5."""
    max_staleness_seconds: Annotated[int | None, Field(ge=1, le=3_155_760_000)] = None
    """Largest age of the end of the data when the run is planned. Default: not checked.
    Example: 86400."""

    @model_validator(mode="after")
    def _limits_are_read(self) -> "ValidationSpec":
        if self.policy is ValidationPolicy.OFF and self.limits():
            raise ValueError(
                f"validation.{', '.join(self.limits())} means nothing with policy Off: remove it, "
                "or use Warn or Enforce"
            )
        return self

    def limits(self) -> list[str]:
        """Returns the names of the limits that are set."""
        return [
            name for name in self.model_dump(by_alias=True, exclude_none=True) if name != "policy"
        ]


class DataRules(Model):
    """How recorded metrics are read, without where they are."""

    window: WindowSpec = WindowSpec()
    """The time to learn from. Default: all of it."""
    split: SplitSpec = SplitSpec()
    """Parts by time: training, validation, holdout."""
    cadence_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    """Step of the time grid in seconds; must divide a day. Rows are gathered into steps, each
    with the rows of the seconds up to and with its end, by the columns' aggregates. Default 0:
    as recorded."""
    columns: Annotated[
        tuple[ColumnSpec, ...],
        Field(
            max_length=MAX_DATA_COLUMNS,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
        # Their order means nothing: another one is the same run.
        AfterValidator(lambda columns: tuple(sorted(columns, key=lambda column: column.name))),
    ] = ()
    """Columns that have another name or unit in the files than in Argus."""
    servers: ServersSpec = ServersSpec()
    """Which servers take part. Default: all."""
    time_zone: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$", max_length=63)
    ] = "UTC"
    """IANA name of the zone in which hour, weekday and weekend are told. Times without a zone
    in the files are UTC. Default UTC. Example: Europe/Berlin."""
    gaps: GapsSpec = GapsSpec()
    """What counts as a gap."""
    on_change: OnChange = OnChange.FAIL
    """Fail ends the run when an object changed after the plan was made; Repin takes it anew and
    marks the run as not exact. Default Fail."""

    @model_validator(mode="after")
    def _cadence_divides_a_day(self) -> "DataRules":
        if self.cadence_seconds and 86_400 % self.cadence_seconds:
            raise ValueError(
                f"cadenceSeconds {self.cadence_seconds} does not divide a day of 86400 seconds: "
                "use for example 60 or 300"
            )
        return self

    @model_validator(mode="after")
    def _columns_are_told_apart(self) -> "DataRules":
        for what, names in (
            ("name", [column.name for column in self.columns]),
            ("from", [column.source or column.name for column in self.columns]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"columns: {what} {twice[0]} is given twice: keep one")
        return self
