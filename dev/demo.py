"""The main job, on a real Kubernetes: `make demo`.

Starts the cluster, installs the operator, puts a dataset into the bucket, applies
manifests/samples/trainingjob.yaml, evicts the training pod once through the eviction API,
and shows that the run went on where it was and left a model bundle.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from stage.bucket import files, filesystem
from stage.commandline import argus
from stage.install import build_images, helm_install, make_namespace
from stage.kubectl import ROOT, CommandFailed, kubectl
from stage.parts import cluster
from stage.runs import RESOURCE, TERMINAL, Run
from stage.waiting import TookTooLong

NAMESPACE = "demo"
SAMPLE = ROOT / "manifests/samples/trainingjob.yaml"
SERVERS, HOURS = 8, 168
TIMEOUT_SECONDS = 900
console = Console(highlight=False)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Prints what is done and how long it took."""
    console.print(f"[bold cyan]==>[/] {title}")
    start = time.monotonic()
    yield
    console.print(f"    [dim]{time.monotonic() - start:.0f} s[/]")


def make_dataset(uri: str) -> None:
    """Generates the dataset with `argus generate`, unless it is there already."""
    if filesystem().exists(f"{uri}/metrics_metadata.json"):
        console.print(f"    {uri} is there already")
        return
    argus("generate", "--servers", str(SERVERS), "--hours", str(HOURS), "--output", uri)


def line_of(status: dict[str, Any]) -> str:
    """Returns the text beside the progress bar."""
    progress, columns = status.get("progress", {}), status.get("columns", {})
    parts = [
        status.get("phase", "Pending"),
        progress.get("summary", ""),
        f"step {progress['step']}/{progress['maxSteps']}" if progress else "",
        f"val-loss {columns['valLoss']}" if columns.get("valLoss") else "",
        status.get("pending", {}).get("message", "")[:60],
    ]
    return "  ".join(part for part in parts if part)


def follow(run: Run) -> dict[str, Any]:
    """Shows the run until it ends; evicts its pod once a checkpoint is durable."""
    evicted, seen = "", ""
    with Progress(
        BarColumn(24), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
    ) as bar:
        task = bar.add_task("Pending", total=100)
        for status in run.watch(TIMEOUT_SECONDS):
            progress = status.get("progress", {})
            bar.update(task, completed=progress.get("percentage", 0), description=line_of(status))
            if not console.is_terminal and line_of(status) != seen:
                seen = line_of(status)
                bar.console.print(f"    {progress.get('percentage', 0):3d}%  {seen}")
            saved = status.get("checkpoint", {}).get("step", 0)
            if not evicted and saved and status.get("phase") == "Running":
                pod = run.running_pod()
                if pod:
                    run.evict(pod)
                    evicted = pod
                    bar.console.print(
                        f"    [yellow]evicted {pod} through the eviction API at step "
                        f"{progress.get('step')} (durable: {saved})[/]"
                    )
            if status.get("phase") in TERMINAL:
                return status
    raise AssertionError("unreachable: watch raises")


def show(run: Run, status: dict[str, Any]) -> None:
    """Prints what the demo promises: the resource, its attempts and the bundle."""
    console.print("\n[bold]$ kubectl get argustrainingjobs -o wide[/]")
    console.print(kubectl("get", RESOURCE, "-n", run.namespace, "-o", "wide"), soft_wrap=True)
    console.print("[bold]attempts[/]")
    for attempt in status.get("attempts", []):
        console.print(
            f"  {attempt['number']}  {attempt['pod']}  steps {attempt.get('startStep', 0)} -> "
            f"{attempt.get('endStep', '?')}  {attempt.get('endReason', '')}  "
            f"exit {attempt.get('exitCode', '?')}"
        )
    uri = status["artifact"]["uri"]
    console.print(f"\n[bold]{uri}/[/]")
    for name, size in files(uri):
        console.print(f"  {size:>9}  {name}")


def check(status: dict[str, Any]) -> list[str]:
    """Returns what is missing from what the demo promises."""
    problems = []
    if status.get("phase") != "Succeeded":
        problems.append(f"the run ended as {status.get('phase')}: {status.get('message')}")
    if not status.get("checkpoint", {}).get("resumedFromStep"):
        problems.append("it did not go on from a checkpoint (RESUMED is empty)")
    if not status.get("disruptions", {}).get("count"):
        problems.append("the eviction is not in its status (DISRUPTED is 0)")
    return problems


def main() -> int:
    """Runs the demo; returns the exit status."""
    begin = time.monotonic()
    sample = yaml.safe_load(SAMPLE.read_text())
    # The same YAML is the same run and would be found published: each demo is a new one.
    sample["spec"]["runToken"] = time.strftime("%Y-%m-%dT%H:%M:%S")
    try:
        with step("Kubernetes and S3 on this machine"):
            cluster("up")
        with step("images of the operator and the trainer"):
            build_images()
        with step("helm install argus charts/argus"):
            helm_install()
        with step(f"argus generate --servers {SERVERS} --hours {HOURS} into the bucket"):
            make_namespace(NAMESPACE)
            make_dataset(sample["spec"]["data"]["uri"])
        with step("kubectl apply -f trainingjob.yaml"):
            console.print(yaml.safe_dump(sample, sort_keys=False), style="dim", end="")
            Run(NAMESPACE, sample["metadata"]["name"]).delete()
            run = Run.apply(NAMESPACE, sample)
            status = follow(run)
        problems = check(status)
        if not problems:
            show(run, status)
    except (CommandFailed, TookTooLong, subprocess.CalledProcessError) as error:
        console.print(f"[bold red]make demo failed:[/] {error}")
        return 1
    for problem in problems:
        console.print(f"[bold red]make demo failed:[/] {problem}")
    if problems:
        return 1
    minutes, seconds = divmod(int(time.monotonic() - begin), 60)
    console.print(f"\n[bold green]Done[/] in {minutes} min {seconds} s. The cluster stays up:")
    console.print('  eval "$(PYTHONPATH=dev python3 -m cluster env)"; kubectl get atj -A')
    console.print("  make cluster-down    stops it and leaves nothing behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
