"""Tests as a table: each keeps a row of what it came to, under the property `rows`."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest


class Rows:
    """A plugin that takes the rows of every test."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.found += dict(report.user_properties).get("rows", [])  # type: ignore[arg-type]


def cell(value: object) -> str:
    """Returns a value as the table shows it; nothing where there is nothing to compare."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    lines = [tuple(columns), *(tuple(cell(row.get(name)) for name in columns) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
