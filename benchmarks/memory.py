"""Peak memory of a whole training process, and whether it keeps the budget that it was given.

What is measured is `argus train --streaming`, as a person starts it: one process that plans,
reads all objects for statistics, trains one whole epoch, validates and publishes, with its data
on a real S3 server (SeaweedFS). Its peak is the kernel's high-water mark of resident memory
(`ru_maxrss`), so neither the page cache nor the server beside it count, and no cgroup is needed.

* Growth: the same fleet and budget over 1x, 4x and 16x of the time. Already 1x is more than the
  budget, so that no run may simply keep its data.
* The budget: what a run takes beyond the peak of the same process over a single block, against
  the budget; blocks of the data are at least four times the budget, as the run's own records say.

The network is small and few windows are drawn, because memory of data is the subject; every block
is read, made and drawn from. Each fleet has blocks of about a hundredth of its budget. Values
of eight days of `argus generate` are written again and again under new times.
"""

import asyncio
import io
import json
import os
import resource
import statistics as stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.report import emit

MIB = 2**20
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 352
"""Under a year: a longer time brings the month as one more input and makes blocks larger."""
DAYS_OF_VALUES = 8
CHUNK_HOURS = 6
CHUNKS_PER_DAY = 24 // CHUNK_HOURS
CADENCE = 300
TARGETS = (
    "cpu_user_pct",
    "cpu_iowait_pct",
    "mem_used_pct",
    "swap_used_pct",
    "load_average",
)
FLEETS = {64: 21, 256: 85, 1024: 340}
"""Servers by budget in MiB: blocks of a year are four times the budget."""
STRIDES = {21: 36, 85: 144, 340: 144}
"""By servers: even a single block gives a whole batch, so that all processes train alike."""
BATCH_SIZE = 128
GROWTH_FLEET, GROWTH_BUDGET = 256, 64
GROWTH_DAYS = {1: DAYS // 16, 4: DAYS // 4, 16: DAYS}
BASELINES = {64: 3, 256: 1, 1024: 1}
"""Repeats of a process over one block, by budget: of the smallest a megabyte is a percent."""
NUM_WRITERS = 8
LIMITS = {"rss_growth_16x": "<= 1.08", "budget_error_max": "<= 0.10"}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one process took."""

    peak_bytes: int
    seconds: float
    block_bytes: int
    """Of its largest block."""
    data_bytes: int
    """Of all its blocks, training and validation."""
    least_bytes: int


def main() -> None:
    from tests.argus_trainer.conftest import KEY_PAIRS, started

    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > 400 * MIB:
        raise SystemExit("this process is so large that a child's high-water mark could be its own")
    with ExitStack() as stack:
        server = started(stack)
        folder = Path(stack.enter_context(TemporaryDirectory()))
        access, secret = KEY_PAIRS[0]
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        uri_of = {}
        for budget, servers in FLEETS.items():
            uri_of[budget] = server.new_uri()
            began = time.monotonic()
            command = [sys.executable, "-m", "benchmarks.memory", uri_of[budget], str(servers)]
            subprocess.run(command, env=environment, check=True)
            print(
                f"{DAYS} days of {servers} servers written in {time.monotonic() - began:.0f} s",
                flush=True,
            )
        bench = Bench(environment, folder)
        figures = growth(bench, uri_of[GROWTH_FLEET]) | budgets(bench, uri_of)
    print(f"{'figure':>20} {'value':>10} {'goal':>10}")
    for name, value in figures.items():
        print(f"{name:>20} {value:>10.3f} {LIMITS.get(name, ''):>10}")
    emit("memory", figures, ["torch", "pytorch-forecasting", "pyarrow", "numpy", "obstore"])


def growth(bench: "Bench", uri: str) -> dict[str, float]:
    """Returns peaks over more and more data, under one budget."""
    print(f"budget {GROWTH_BUDGET} MiB, {FLEETS[GROWTH_FLEET]} servers, more and more days:")
    peaks: dict[int, float] = {}
    for times, days in GROWTH_DAYS.items():
        servers = FLEETS[GROWTH_FLEET]
        trained = bench.train(uri, servers=servers, days=days, budget_mib=GROWTH_BUDGET)
        peaks[times] = trained.peak_bytes / MIB
        _print_row(f"{times}x, {days} days", trained)
    return {
        **{f"rss_mib_{times}x": peak for times, peak in peaks.items()},
        "rss_growth_4x": peaks[4] / peaks[1],
        "rss_growth_16x": peaks[16] / peaks[1],
    }


def budgets(bench: "Bench", uri_of: Mapping[int, str]) -> dict[str, float]:
    """Returns how far each budget is missed, as a share of it."""
    errors = {}
    for mib, uri in uri_of.items():
        servers = FLEETS[mib]
        print(f"budget {mib} MiB, {servers} servers:")
        train = partial(bench.train, uri, servers=servers, budget_mib=mib)
        alone = [train(days=0) for _ in range(BASELINES[mib])]
        for trained in alone:
            _print_row("one block", trained)
        whole = train(days=DAYS)
        _print_row(f"{DAYS} days", whole)
        if whole.data_bytes < 4 * mib * MIB:
            raise SystemExit(f"the blocks are {whole.data_bytes} bytes, not 4 times the budget")
        base = stat.median(trained.peak_bytes for trained in alone)
        errors[mib] = (whole.peak_bytes - base) / (mib * MIB) - 1
        print(f"  the budget is {errors[mib]:+.1%} off", flush=True)
    return {
        **{f"budget_error_{mib}_mib": error for mib, error in errors.items()},
        "budget_error_max": max(map(abs, errors.values())),
    }


def _print_row(what: str, trained: Trained) -> None:
    print(
        f"  {what:<14} peak {trained.peak_bytes / MIB:7.1f} MiB in {trained.seconds:4.0f} s;"
        f"  blocks {trained.data_bytes / MIB:7.1f} MiB, the largest {trained.block_bytes / MIB:.2f}"
        f"; the least budget {trained.least_bytes / MIB:.1f}",
        flush=True,
    )


@dataclass
class Bench:
    """Starts trainings, each in a process and an output folder of its own."""

    environment: dict[str, str]
    folder: Path
    _count: int = 0

    def train(self, uri: str, *, servers: int, days: int, budget_mib: int) -> Trained:
        """Trains one epoch over the first days; 0: over one block, validated by one chunk."""
        self._count += 1
        output = self.folder / str(self._count)
        chunks = days * CHUNKS_PER_DAY or CHUNKS_PER_DAY + 1
        end = FIRST + chunks * timedelta(days=1) / CHUNKS_PER_DAY
        command = [
            *(sys.executable, "-m", "argus_trainer", "train", uri, "--output", str(output)),
            *("--end", end.isoformat(), "--validation-percent", "1", "--holdout-percent", "0"),
            *("--streaming", "--memory-budget", f"{budget_mib}Mi", "--epochs", "1"),
            *("--encoder-length", "12", "--prediction-length", "6"),
            *("--window-stride", str(STRIDES[servers]), "--batch-size", str(BATCH_SIZE)),
            *("--hidden-size", "8", "--attention-heads", "1", "--hidden-continuous-size", "4"),
            *("--period-seconds", "100000", "--every-chunks", "100000"),
        ]
        log = output.with_suffix(".log")
        began = time.monotonic()
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=self.environment)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"the training ended with {process.returncode}:\n{log.read_text()}")
        return Trained(
            # In KiB.
            peak_bytes=usage.ru_maxrss * 1024,
            seconds=time.monotonic() - began,
            **_sizes(output, STRIDES[servers]),
        )


def _sizes(output: Path, stride: int) -> dict[str, int]:
    """Returns what the run's own records say of its blocks."""
    from argus_contract.data_spec import DataRules
    from argus_contract.plan import Plan, Statistics
    from argus_contract.spec import ModelSpec, TrainingSpec
    from argus_trainer.data.memory import Memory
    from argus_trainer.data.windows import WindowRules

    (run,) = {file.parent for file in (output / "checkpoints").glob("*/plan.json")}
    plan = Plan.model_validate_json((run / "plan.json").read_bytes())
    found = Statistics.model_validate_json((run / "statistics.json").read_bytes())
    rules = WindowRules.of(
        ModelSpec(encoder_length=12, prediction_length=6),
        DataRules(),
        TrainingSpec(window_stride=stride),
    )
    memory = Memory.of(plan, found, rules, BATCH_SIZE)
    return {
        "block_bytes": memory.block,
        "data_bytes": memory.blocks,
        "least_bytes": memory.least,
    }


def write(uri: str, num_servers: int) -> None:
    """Writes the chunks of a fleet, then a manifest that lists them."""
    from argus_trainer.data.chunk_files import MANIFEST, chunk_name

    starts = [
        FIRST + timedelta(hours=CHUNK_HOURS * index) for index in range(DAYS * CHUNKS_PER_DAY)
    ]
    names = [chunk_name(start) for start in starts]
    sizes = asyncio.run(_put(uri, zip(names, _contents(num_servers), strict=True)))
    manifest = {
        "version": 1,
        "cadence_seconds": CADENCE,
        "columns": ["timestamp", "server_name", "status", *TARGETS],
        "chunks": [
            {
                "file": name,
                "start": start.isoformat(),
                "end": (start + timedelta(hours=CHUNK_HOURS)).isoformat(),
                "rows": num_servers * CHUNK_HOURS * 3_600 // CADENCE,
                "bytes": sizes[name],
            }
            for name, start in zip(names, starts, strict=True)
        ],
    }
    content = json.dumps(manifest).encode()
    asyncio.run(_put(uri, iter([(MANIFEST, content)])))


def _contents(num_servers: int) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from argus_trainer.data.chunk_files import CHUNK_SECONDS
    from argus_trainer.simulate.fleet import make_fleet
    from argus_trainer.simulate.record import record

    hours = 24 * DAYS_OF_VALUES
    fleet = make_fleet(num_servers, hours, 1)
    parts = [
        chunk.table.select(["timestamp", "server_name", "status", *TARGETS])
        for chunk in record(fleet, FIRST, hours, 1, CADENCE)
    ]
    at_once = CHUNK_HOURS * 3_600 // CHUNK_SECONDS
    tables = [
        pa.concat_tables(parts[begin : begin + at_once]).combine_chunks()
        for begin in range(0, len(parts), at_once)
    ]
    for index in range(DAYS * CHUNKS_PER_DAY):
        turn, number = divmod(index, len(tables))
        table = tables[number]
        times = table.column("timestamp")
        moved = times.cast(pa.int64()).to_numpy() + turn * hours * 3_600_000
        table = table.set_column(0, "timestamp", pa.array(moved).cast(times.type))
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        yield sink.getvalue()


async def _put(uri: str, objects: Iterator[tuple[str, bytes]]) -> dict[str, int]:
    """Writes objects, some at a time, and returns their sizes."""
    from obstore.store import S3Store

    from argus_trainer.data.chunk_files import FOLDER

    store = S3Store.from_url(
        uri,
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        region=os.environ["AWS_DEFAULT_REGION"],
        client_options={"allow_http": True},
    )
    sizes = {}

    async def work() -> None:
        for name, content in objects:
            sizes[name] = len(content)
            await store.put_async(FOLDER + name, content)

    await asyncio.gather(*(work() for _ in range(NUM_WRITERS)))
    return sizes


if __name__ == "__main__":
    if len(sys.argv) == 3:
        write(sys.argv[1], int(sys.argv[2]))
    else:
        main()
