"""Numbers in a spec without floats: decimal strings and Kubernetes quantities."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

DECIMAL_PATTERN = r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,9})?$"
DecimalString = Annotated[
    str,
    StringConstraints(pattern=DECIMAL_PATTERN, max_length=16),
    AfterValidator(lambda text: format(Decimal(text).normalize(), "f")),
]
"""A non-negative decimal number as a string, for example "0.01"; "0.010" is the same one."""

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2}|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
"""Exponents are short: a number with a billion digits takes minutes to compute."""


def _as_text(value: Any) -> Any:
    """Takes `cpu: 4` as well as `cpu: "4"`, as every pod spec does."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


Quantity = Annotated[
    str,
    StringConstraints(pattern=QUANTITY_PATTERN, max_length=32),
    # The pattern looks at text only; a quantity may be a number as well.
    Field(json_schema_extra={"x-kubernetes-int-or-string": True, "minimum": 0}),
    BeforeValidator(_as_text),
]
"""A Kubernetes resource quantity, for example 500m or 4Gi."""

_UNITS = {
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("", "k", "M", "G", "T", "P"))},
    **{
        f"{unit}i": Decimal(1024) ** power
        for power, unit in enumerate(("K", "M", "G", "T", "P", "E"), start=1)
    },
    "E": Decimal(1000) ** 6,
    "m": Decimal("0.001"),
}


def value_of(text: str) -> Decimal:
    """Returns the number that a decimal string or a quantity states."""
    digits = text.rstrip("kKMGTPEim")
    unit = text[len(digits) :]
    return Decimal(digits) * _UNITS[unit]
