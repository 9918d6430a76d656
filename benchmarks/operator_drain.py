"""What becomes of many runs that are created at once, in turns with two peers."""

import statistics as stat
import time
from dataclasses import dataclass, field

from benchmarks.operator_load import Load, Seen, by_name, by_run, make_plain_job
from benchmarks.operator_peer import bare_peer
from stage.operator_process import Chart
from stage.simulated import jobs_path, make_run, pods_path, runs_path


@dataclass
class Drain:
    """Jobs and pods a second, a figure for each turn."""

    chart: Chart
    load: Load
    at_once: int
    jobs: list[float] = field(default_factory=list)
    pods: list[float] = field(default_factory=list)
    bare_jobs: list[float] = field(default_factory=list)
    """Made by the bare operator of `benchmarks.operator_bare`."""
    plain_pods: list[float] = field(default_factory=list)
    """Of plain Jobs of the kind that the operator makes."""

    async def bare(self) -> None:
        """While no other operator runs."""
        async with bare_peer(self.chart, self.load, "drain-bare") as (_, made):
            known = len(made.at)
            began = await self._create("drain-bare")
            await made.until(known + self.at_once, "Jobs")
            self.bare_jobs.append(self._per_second(made, began))

    async def ours(self) -> None:
        """While the operator runs: its Jobs and pods, and those of plain Jobs after it."""
        ours, plain = "drain", "drain-plain"
        plane, load = self.chart.plane, self.load
        plane.make_namespace(ours)
        plane.make_namespace(plain)
        async with (
            load.watching(jobs_path(ours), by_run) as made,
            load.watching(pods_path(ours), by_name) as begun,
        ):
            began = await self._create(ours)
            await made.until(self.at_once, "Jobs")
            await begun.until(self.at_once, "pods")
        self.jobs.append(self._per_second(made, began))
        self.pods.append(self._per_second(begun, began))
        like = plane.api().items(jobs_path(ours), limit="1")[0]
        documents = [make_plain_job(f"job-{n}", like) for n in range(self.at_once)]
        async with load.watching(pods_path(plain), by_name) as begun:
            began = time.monotonic()
            await load.create(jobs_path(plain), documents)
            await begun.until(self.at_once, "pods")
        self.plain_pods.append(self._per_second(begun, began))
        await load.delete_namespaces(ours, plain)

    async def _create(self, namespace: str) -> float:
        """Creates the runs at once; returns when it began."""
        began = time.monotonic()
        runs = [make_run(f"run-{n}") for n in range(self.at_once)]
        await self.load.create(runs_path(namespace), runs)
        return began

    def _per_second(self, seen: Seen, began: float) -> float:
        return self.at_once / (max(seen.at.values()) - began)

    def figures(self) -> dict[str, float]:
        """Returns medians of all turns."""
        of_bare = [ours / bare for ours, bare in zip(self.jobs, self.bare_jobs, strict=True)]
        of_plain = [ours / plain for ours, plain in zip(self.pods, self.plain_pods, strict=True)]
        return {
            "drain_per_second": stat.median(self.jobs),
            "bare_drain_per_second": stat.median(self.bare_jobs),
            "drain_vs_bare": stat.median(of_bare),
            "drain_vs_plain": stat.median(of_plain),
        }

    def __str__(self) -> str:
        """Returns the figures of the last turn."""
        return (
            f"{self.jobs[-1]:.0f} Jobs/s, bare {self.bare_jobs[-1]:.0f}; "
            f"{self.pods[-1]:.0f} pods/s, plain {self.plain_pods[-1]:.0f}"
        )
