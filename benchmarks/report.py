"""What every benchmark prints: a table for people, and one JSON object as the last line.

The object is kept in `benchmarks/results/<bench>.json`. Figures that compare are ratios taken
in one run, medians of interleaved repeats.
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> str:
    """Returns the processor, the cores that this process may use, and the memory."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next(
        (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"


def commit() -> str:
    """Returns the commit that is measured, with "+" when files were changed after it."""
    folder = RESULTS.parent
    name = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True
    ).stdout.strip()
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=folder).returncode
    return f"{name}{'+' if changed else ''}"


def emit(
    bench: str,
    figures: Mapping[str, float],
    packages: Sequence[str],
    *,
    table: Sequence[Mapping[str, object]] = (),
) -> None:
    """Prints the JSON object and keeps it.

    `packages`: distributions that the figures rest on. `table`: rows that are kept with them.
    """
    document: dict[str, object] = {
        "bench": bench,
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "machine": machine(),
        "versions": {
            "argus": commit(),
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        **({"table": table} if table else {}),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{bench}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document), flush=True)
