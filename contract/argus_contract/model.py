"""The configuration that every model of the contract shares.

Field names are snake_case in Python and camelCase on the wire; unknown fields are
refused; values never change after they are made.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """A frozen, closed record with camelCase names on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """Returns the JSON form: camelCase keys, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _as_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a zone, for example 2026-01-31T10:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value.isoformat()} lies outside of the years 1 to 9999") from None


def _written(value: datetime) -> str:
    # Not strftime: it writes the year 1 without zeros, which is no time for an API server.
    return value.replace(microsecond=0, tzinfo=None).isoformat() + "Z"


Time = Annotated[
    datetime,
    AfterValidator(_as_utc),
    PlainSerializer(_written, return_type=str),
]
"""An instant in UTC, written with second precision like metav1.Time."""
