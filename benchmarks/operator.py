"""The operator on a control plane with simulated nodes, beside plain Jobs: `make bench-operator`.

* `latency_p50_seconds`, `latency_p99_seconds`: from a run's creation to its Job, at 10 creations a
  second of runs that go on. `bare_latency_*`: the same for `benchmarks.operator_bare`, the least
  that an operator on kopf can do, right before and right after: how fast the machine is at the
  time is in both.
* `requests_per_run`, counted by the API server (all but Leases), and `cpu_ms_per_run`, of the
  operator's process: of runs that come to their end after two seconds, 10 a second.
  `cpu_vs_bare`: that over the processor time of the bare one, whose runs go on.
  `ending_latency_*`: from creation to Job in that time, in which as many runs end as begin.
* `drain_per_second`: Jobs made, where all runs are created at once; `drain_vs_bare`: as a share of
  those of the bare one, `bare_drain_per_second`; `drain_vs_plain`: pods a second as a share of
  those of plain Jobs of the same kind. All in turns.
* `rss_mib`, `cpu_cores`, `rest_requests_per_second`: with the running and the finished runs, while
  nothing happens and nobody is asked for progress, of an operator that has listed them all.
* `growth_1000`, `growth_5000`: processor time of a run when so many others have ended (and, of the
  second, all the running ones are there as well), over that with a hundred. Each is taken as a
  multiple of what a run costs at the same time on a second control plane, where a hundred stay:
  the machine changes between two turns. `growth_slope`: the exponent with which the processor
  time of all runs grows by their number, fitted through the three sizes; 1 is in proportion.
* `polling_cpu_cores`, `polling_requests_per_second`: the running ones answer `/progress`.
* `foreign_pods_mib`: what the operator grows by when pods appear that are not its own.

`--quick` takes a tenth of everything, for development.
"""

import asyncio
import json
import os
import statistics as stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import log
from pathlib import Path

from argus_contract import names
from benchmarks.operator_drain import Drain
from benchmarks.operator_load import Load, by_name, by_run, make_foreign_pod
from benchmarks.operator_peer import bare_peer
from benchmarks.report import emit
from stage.control_plane import ControlPlane, end_of_record, requests_of
from stage.operator_process import USER, Chart, OperatorProcess
from stage.simulated import jobs_path, make_run, pods_path, runs_path

SHARE = 10 if "--quick" in sys.argv else 1
PER_SECOND, SECONDS = 10, 60 // (3 if SHARE > 1 else 1)
AT_ONCE, RUNNING, FINISHED, FOREIGN = (n // SHARE for n in (1000, 1000, 5000, 20_000))
NUM_TURNS = 3
SIZES = (100 // SHARE, 1000 // SHARE, FINISHED)
"""Runs that have ended when the growth is measured."""
NUM_BATCHES, BATCH = (5, 100) if SHARE == 1 else (2, 20)
MANY = "many"
"""Namespace of the runs that stay."""
BARE_SECONDS = 20
FOLLOWED = 20
"""Runs a second that this control plane takes to their end; more of them would pile up alive."""
FOLLOWED_TWICE = 4
"""The same of two control planes on this machine, with processor time left over."""
SETTLE_SECONDS = 30
REST_SECONDS, POLL_SECONDS = 60, 120
UNASKED = {"intervalSeconds": 3600}
"""Nobody is asked for progress in the time of a bench."""
LIVE = {
    "labelSelector": f"{names.LABEL_COMPONENT}={names.COMPONENT_TRAINER}",
    "fieldSelector": "status.phase=Running",
}
LIMITS = {
    "latency_p50_seconds": "<= 0.025",
    "latency_p99_seconds": "<= 0.09",
    "drain_per_second": ">= 100",
    "requests_per_run": "<= 6",
    "cpu_ms_per_run": "<= 20",
    "rss_mib": "<= 200",
    "cpu_cores": "<= 0.05",
    "rest_requests_per_second": "<= 2",
    "polling_cpu_cores": "<= 0.25",
    "polling_requests_per_second": "<= 12",
    "foreign_pods_mib": "<= 10",
    "growth_1000": "<= 1.05",
    "growth_5000": "<= 1.05",
    "growth_slope": "<= 1.05",
}


def cpu_seconds(operator: OperatorProcess) -> float:
    fields = Path(f"/proc/{operator.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quantiles(of_what: str, seconds: Iterable[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        f"{of_what}_p50_seconds": stat.median(ordered),
        f"{of_what}_p99_seconds": ordered[int(len(ordered) * 0.99)],
    }


@dataclass
class Meter:
    """Processor time and requests of an operator in a while."""

    plane: ControlPlane
    operator: OperatorProcess
    seconds: float = 0.0
    cpu: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)
    """By verb and resource, without Leases."""

    @contextmanager
    def running(self) -> Iterator["Meter"]:
        before, cpu, began = end_of_record(self.plane), cpu_seconds(self.operator), time.monotonic()
        yield self
        self.seconds = time.monotonic() - began
        self.cpu = cpu_seconds(self.operator) - cpu
        # The API server writes its record a moment after its answer.
        time.sleep(1.0)
        for entry in requests_of(self.plane, USER, after=before):
            about = entry["objectRef"]
            if about.get("resource") != "leases":
                kind = f"{entry['verb']} {about.get('resource', '')}{about.get('subresource', '')}"
                self.requests[kind] = self.requests.get(kind, 0) + 1

    def print(self, parts: float, of_what: str) -> None:
        for kind, count in sorted(self.requests.items(), key=lambda item: -item[1]):
            print(f"  {count / parts:6.2f} {kind} {of_what}", flush=True)


@dataclass
class Bench:
    plane: ControlPlane
    operator: OperatorProcess
    load: Load
    figures: dict[str, float] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def meter(self) -> Meter:
        return Meter(self.plane, self.operator)

    def tell(self, where: str) -> None:
        """Prints how far the bench is, for whom waits for it."""
        elapsed = time.monotonic() - self.begun
        print(f"{elapsed:6.0f} s, operator {self.operator.rss_mib:4.0f} MiB: {where}", flush=True)

    async def until(self, namespace: str, phase: str, count: int) -> None:
        """Waits until so many runs of a namespace have come to this phase.

        By a watch: listing thousands of runs again and again would be what is measured.
        """
        path, only = runs_path(namespace), f"status.phase={phase}"
        async with self.load.watching(path, by_name, fieldSelector=only) as seen:
            await seen.until(count, f"runs to be {phase}")

    async def latency(self) -> None:
        """From creation to Job, of runs that go on."""
        self.figures |= quantiles("latency", await self._jobs_of("creation", None))
        await self.load.delete_namespaces("creation")
        self.tell("latency measured")

    async def lives(self) -> None:
        """What a run costs from its creation to its end."""
        with self.meter().running() as meter:
            waited = await self._jobs_of("life", "2s")
            await self.until("life", "Succeeded", len(waited))
        self.figures |= quantiles("ending_latency", waited) | {
            "requests_per_run": sum(meter.requests.values()) / len(waited),
            "cpu_ms_per_run": 1000 * meter.cpu / len(waited),
        }
        meter.print(len(waited), "a run")
        self.tell("whole lives measured")

    async def _jobs_of(self, namespace: str, runs_for: str | None) -> list[float]:
        """Returns the seconds from each run to its Job, at the rate of the bench."""
        self.plane.make_namespace(namespace)
        runs = [make_run(f"run-{n}", runs_for=runs_for) for n in range(PER_SECOND * SECONDS)]
        async with self.load.watching(jobs_path(namespace), by_run) as seen:
            sent = await self.load.create(runs_path(namespace), runs, PER_SECOND)
            await seen.until(len(runs), "Jobs")
        return [seen.at[name] - at for name, at in sent.items()]

    async def end(self, first: int, last: int) -> None:
        """Takes these of the many runs to their end."""
        done = [make_run(f"done-{n}", runs_for="1s") for n in range(first, last)]
        await self.load.create(runs_path(MANY), done, FOLLOWED)
        await self.until(MANY, "Succeeded", last)
        self.tell(f"{last} runs have ended")

    async def start(self) -> None:
        """Makes the runs that go on."""
        await self.load.create(runs_path(MANY), [make_run(f"live-{n}") for n in range(RUNNING)])
        async with self.load.watching(pods_path(MANY), by_name, **LIVE) as begun:
            await begun.until(RUNNING, "pods to run")
        self.tell(f"{RUNNING} more are running")
        # Starting runs are looked at more often; after a minute they count as silent.
        await asyncio.sleep(90)

    async def listed(self) -> None:
        """Waits until the operator lists the runs, as it does every ten minutes.

        A list takes memory that stays. Whether that is in `rss_mib` or in `foreign_pods_mib` must
        not depend on the minute.
        """
        after = end_of_record(self.plane)
        has_listed = False
        while not has_listed:
            await asyncio.sleep(5.0)
            has_listed = any(
                entry["verb"] == "list" and entry["objectRef"].get("resource") == names.PLURAL
                for entry in requests_of(self.plane, USER, after)
            )
        await asyncio.sleep(SETTLE_SECONDS)
        self.tell("all runs listed again")

    async def cpu_of_batch(self, namespace: str) -> float:
        """Returns processor seconds of a run that comes to its end, and removes the runs."""
        self.plane.make_namespace(namespace)
        runs = [make_run(f"run-{n}", runs_for="1s") for n in range(BATCH)]
        cpu = cpu_seconds(self.operator)
        await self.load.create(runs_path(namespace), runs, FOLLOWED_TWICE)
        await self.until(namespace, "Succeeded", BATCH)
        await asyncio.sleep(2.0)  # for the events that tell the end
        cpu = cpu_seconds(self.operator) - cpu
        await self.load.delete_namespaces(namespace)
        return cpu / BATCH

    async def cost_over(self, other: "Bench", when: str) -> float:
        """Returns how many times as much processor time a run takes here as there.

        At the same time: whatever the machine does then, it does to both.
        """
        ratios = []
        for turn in range(NUM_BATCHES):
            name = f"{when}-{turn}"
            here, there = await asyncio.gather(self.cpu_of_batch(name), other.cpu_of_batch(name))
            self.tell(f"{1000 * here:.1f} ms a run, {1000 * there:.1f} beside few, {name}")
            ratios.append(here / there)
        return stat.median(ratios)

    async def many(self, folder: Path) -> None:
        self.plane.make_namespace(MANY)
        cost: dict[int, float] = {}
        async with second(folder / "second") as other:
            other.plane.make_namespace(MANY)
            await other.end(0, SIZES[0])
            for ended, size in zip((0, *SIZES), SIZES, strict=False):
                await self.end(ended, size)
                if size == SIZES[-1]:
                    await self.start()
                cost[size] = await self.cost_over(other, f"growth-{size}")
        if SHARE == 1:
            await self.listed()
        with self.meter().running() as meter:
            await asyncio.sleep(REST_SECONDS)
        few, *more = SIZES
        per_run = stat.linear_regression([log(n) for n in SIZES], [log(cost[n]) for n in SIZES])
        self.figures |= {f"growth_{size}": cost[size] / cost[few] for size in more} | {
            "growth_slope": 1 + per_run.slope,
            "rss_mib": self.operator.rss_mib,
            "cpu_cores": meter.cpu / meter.seconds,
            "rest_requests_per_second": sum(meter.requests.values()) / meter.seconds,
        }
        self.tell("rest measured")

    async def foreign(self) -> None:
        self.plane.make_namespace("foreign")
        before = self.operator.rss_mib
        pods = (make_foreign_pod(f"pod-{n}") for n in range(FOREIGN))
        await self.load.create(pods_path("foreign"), pods)
        await asyncio.sleep(15)
        self.tell("foreign pods made")
        self.figures["foreign_pods_mib"] = self.operator.rss_mib - before

    async def polling(self, folder: Path) -> None:
        """The operator is another one by now, which asks for progress."""
        trainers = {
            pod["status"]["podIP"]: (
                pod["metadata"]["labels"][names.LABEL_RUN_KEY],
                pod["metadata"]["name"],
            )
            for pod in self.plane.api().items(pods_path(MANY), **LIVE)
        }
        known = folder / "trainers.json"
        known.write_text(json.dumps(trainers))
        command = [sys.executable, "-m", "benchmarks.operator_progress", str(known)]
        server = await asyncio.create_subprocess_exec(*command)
        try:
            await self.until(MANY, "Running", RUNNING)
            # An operator that was just started reads every run once.
            await asyncio.sleep(SETTLE_SECONDS)
            with self.meter().running() as meter:
                await asyncio.sleep(POLL_SECONDS)
        finally:
            server.kill()
            await server.wait()
        meter.print(meter.seconds, "a second of polling")
        self.figures |= {
            "polling_cpu_cores": meter.cpu / meter.seconds,
            "polling_requests_per_second": sum(meter.requests.values()) / meter.seconds,
        }


@asynccontextmanager
async def second(state: Path) -> AsyncIterator[Bench]:
    """Another control plane with an operator of its own, and no runs."""
    with ControlPlane.running(state) as plane:
        async with Load.on(plane) as load:
            with Chart.install(plane, progress=UNASKED).operator() as operator:
                yield Bench(plane, operator, load)


async def bare(chart: Chart, load: Load, name: str) -> tuple[float, list[float]]:
    """Returns the peer's processor seconds a run, and the seconds from each run to its Job."""
    async with bare_peer(chart, load, name) as (peer, seen):
        known, cpu = len(seen.at), cpu_seconds(peer)
        runs = [make_run(f"run-{n}") for n in range(PER_SECOND * BARE_SECONDS)]
        sent = await load.create(runs_path(name), runs, PER_SECOND)
        await seen.until(known + len(runs), "Jobs")
        cpu = cpu_seconds(peer) - cpu
    return cpu / len(runs), [seen.at[run] - at for run, at in sent.items()]


async def measure(plane: ControlPlane, folder: Path) -> dict[str, float]:
    chart = Chart.install(plane, progress=UNASKED)
    async with Load.on(plane) as load:
        before, waited_before = await bare(chart, load, "bare-before")
        with chart.operator() as operator:
            bench = Bench(plane, operator, load)
            await bench.latency()
            await bench.lives()
        after, waited_after = await bare(chart, load, "bare-after")
        bare_ms = 1000 * stat.mean((before, after))
        bench.figures |= quantiles("bare_latency", waited_before + waited_after) | {
            "bare_cpu_ms_per_run": bare_ms,
            "cpu_vs_bare": bench.figures["cpu_ms_per_run"] / bare_ms,
        }
        drain = Drain(chart, load, AT_ONCE)
        for turn in range(NUM_TURNS):
            await drain.bare()
            with chart.operator() as operator:
                bench.operator = operator
                await drain.ours()
                bench.tell(str(drain))
                if turn == NUM_TURNS - 1:
                    # Of an operator that has lived through a burst.
                    await bench.many(folder)
                    await bench.foreign()
        bench.figures |= drain.figures()
        chart = Chart.install(plane)
        with chart.operator() as operator:
            bench.operator = operator
            await bench.polling(folder)
    return bench.figures


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane.running(Path(folder) / "state") as plane,
    ):
        figures = asyncio.run(measure(plane, Path(folder)))
    print(f"{'figure':>28} {'value':>10} {'goal':>10}")
    for name, value in figures.items():
        print(f"{name:>28} {value:>10.3f} {LIMITS.get(name, ''):>10}")
    if SHARE == 1:
        packages = ["kopf", "kubernetes", "aiohttp", "uvloop"]
        emit("operator", figures, packages)


if __name__ == "__main__":
    main()
