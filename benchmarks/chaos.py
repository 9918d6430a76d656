"""What can happen to the operator and its API server, as a table: `make chaos`.

The tests of `tests/control_plane` make it happen, by seeds, and judge whether runs end as if
nothing had. A test that fails keeps nothing.
"""

import sys

import pytest

from benchmarks.report import emit
from benchmarks.rows import Rows, table

COLUMNS = ("what", "runs", "times", "takeover_seconds", "seconds")


def main() -> int:
    rows = Rows()
    tests = ["-q", "-m", "chaos", "tests/control_plane", *sys.argv[1:]]
    status = int(pytest.main(tests, plugins=[rows]))
    if rows.found:
        print(table(rows.found, COLUMNS), flush=True)
    if status == 0:
        figures = {
            "runs": sum(row["runs"] for row in rows.found),
            "times": sum(row["times"] for row in rows.found),
            "takeover_seconds_max": max(row.get("takeover_seconds", 0) for row in rows.found),
            "seconds": sum(row["seconds"] for row in rows.found),
        }
        emit("chaos", figures, ["kopf", "kubernetes"], table=rows.found)
    return status


if __name__ == "__main__":
    sys.exit(main())
