"""Runs `benchmarks.operator_bare` as a peer, which shows what the machine allows at the time."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.operator_load import Load, Seen, by_run
from stage.operator_process import Chart, OperatorProcess
from stage.simulated import jobs_path, make_run, runs_path

COMMAND = (
    sys.executable,
    "-m",
    "kopf",
    "run",
    "--quiet",
    "-m",
    "benchmarks.operator_bare",
    "--all-namespaces",
)


@asynccontextmanager
async def bare_peer(
    chart: Chart, load: Load, namespace: str
) -> AsyncIterator[tuple[OperatorProcess, Seen]]:
    """Runs it alone, with a namespace whose Jobs are watched; removes the namespace afterwards."""
    chart.plane.make_namespace(namespace)
    path = {"PYTHONPATH": os.environ["PYTHONPATH"]}
    with chart.operator(namespace, command=COMMAND, environment=path, is_ready=False) as process:
        async with load.watching(jobs_path(namespace), by_run) as made:
            # Until it watches: a run that it finds there is none that it makes a Job for.
            while not made.at:
                first = make_run(f"first-{time.monotonic_ns()}")
                await load.create(runs_path(namespace), [first])
                await asyncio.sleep(1.0)
            await asyncio.sleep(5.0)
            yield process, made
    await load.delete_namespaces(namespace)
