"""What saving, stopping and resuming cost, at the default model size, on SeaweedFS.

* `held_ratio`: how long the training loop is held by a save in the background, over a synchronous
  save and upload of the same states, in one run.
* `overhead_share`: (time held + processor seconds of a save) / processor seconds of the training in
  a period of 60 s.
* `sigterm_max_seconds`: the longest of 50 stops of real processes, from SIGTERM to the instant at
  which the newest state is durable. They are forked from one process that has imported torch.
* `resume_ratio`: from the start of a process to the first new step of a resumed run, over the same
  of a new run (which plans, reads statistics and validates first). Cold processes, in turn.

The default model takes seconds for a batch of 128 on a CPU, so the batch has 2 windows: a step
then takes part of a second, as on a GPU. Its state has the full size all the same.
"""

import json
import os
import random
import signal
import statistics as stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any
from unittest.mock import patch

from argus_contract.exit_codes import ExitCode
from argus_contract.launch import (
    Launch,
    LaunchCheckpoint,
    LaunchData,
    LaunchOutput,
    LaunchStorage,
)
from argus_contract.spec import ModelSpec, TrainingSpec
from argus_trainer.process.stop import block_signals
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.open import open_store
from benchmarks.report import emit

if TYPE_CHECKING:
    from argus_trainer.training.state import Snapshot

SERVERS, HOURS = 2, 168
NUM_STEPS, STEPS_PER_SAVE, PERIOD_SECONDS = 400, 40, 60
NUM_STOPS, LONGEST_RUN_SECONDS = 50, 3.0
NUM_STARTS = 3
LIMITS = {
    "held_ratio": "<= 0.15",
    "overhead_share": "<= 0.01",
    "sigterm_max_seconds": "<= 5",
    "resume_ratio": "<= 1.3",
}


def launch_at(uri: str, key: str, storage: LaunchStorage) -> Launch:
    # A short validation part: a validation between two stops would only be waiting.
    split = {"validationPercent": 6, "holdoutPercent": 10}
    return Launch(
        namespace="bench",
        name="checkpoint",
        run_key=key,
        data=LaunchData.model_validate({"uri": f"{uri}/data", "split": split}),
        model=ModelSpec(),
        training=TrainingSpec(batch_size=2, epochs=100, window_stride=4, learning_rate="0.001"),
        storage=storage,
        checkpoint=LaunchCheckpoint(
            uri=f"{uri}/checkpoints", every_chunks=5, period_seconds=PERIOD_SECONDS
        ),
        output=LaunchOutput(uri=f"{uri}/models"),
    )


# --- one run in a process of its own ----------------------------------------------------------


def live(launch: Launch) -> int:
    """Runs, and says each line and each step with the time, as JSON."""
    from argus_trainer.process.run import run
    from argus_trainer.process.stop import Stop
    from argus_trainer.process.surroundings import Surroundings

    stop = Stop()
    stop.listen()

    def say(line: str) -> None:
        print(json.dumps({"time": time.monotonic(), "line": line}), flush=True)

    from argus_trainer.process.narrator import Narrator

    told = Narrator.step_done

    def step_done(narrator: Any, event: Any) -> None:
        told(narrator, event)
        say("step")

    Narrator.step_done = step_done  # type: ignore[method-assign,assignment]
    say("started")
    return run(launch, Surroundings(pod="bench", stop=stop, say=say))


def serve() -> None:
    """Forks a run for each launch on stdin; says its process id first and its exit code last."""
    import argus_trainer.process.attempt  # noqa: F401

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(live(Launch.model_validate_json(line)))
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)


@contextmanager
def started(what: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "benchmarks.checkpoint", what]
    pipe = subprocess.PIPE
    environment = {**os.environ, "GOMP_SPINCOUNT": "10000"}
    # Before the libraries start threads of their own, which would take a signal.
    with subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        text=True,
        env=environment,
        preexec_fn=block_signals,
    ) as process:
        yield process
        process.kill()


def messages(stream: IO[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in stream if line.startswith("{"))


# --- what is measured -------------------------------------------------------------------------


@dataclass
class Costs:
    """Seconds, of one training."""

    held: list[float] = field(default_factory=list)
    synchronous: list[float] = field(default_factory=list)
    cpu_of_save: list[float] = field(default_factory=list)
    cpu_of_step: list[float] = field(default_factory=list)
    wall_of_step: list[float] = field(default_factory=list)


@contextmanager
def watched(costs: Costs, save: "Callable[[Snapshot], object]") -> Iterator[None]:
    """Has trainings save often, and after each save in the background do the same by `save`."""
    from argus_trainer.process import attempt
    from argus_trainer.training.loop import Training
    from argus_trainer.training.pace import Pace

    class Often(Pace):
        """Saves more often than may be, so that a short run has several saves."""

        def is_due(self, chunks: int, now_seconds: float, *, failing: bool = False) -> bool:
            return len(costs.cpu_of_step) >= STEPS_PER_SAVE * (len(costs.held) + 1)

        def saved(self, chunks: int, now_seconds: float, cost_seconds: float) -> None:
            costs.held.append(cost_seconds)
            super().saved(chunks, now_seconds, cost_seconds)

    def pace(**_: Any) -> Pace:
        return Often(every_chunks=1 << 30, period_seconds=PERIOD_SECONDS)

    step_of, save_of = Training._step, Training._save_if_due

    def step(training: Training, batch: Any) -> float:
        cpu, wall = time.process_time(), time.monotonic()
        loss = step_of(training, batch)
        costs.cpu_of_step.append(time.process_time() - cpu)
        costs.wall_of_step.append(time.monotonic() - wall)
        return loss

    def save_if_due(training: Training, saver: Any, pace: Pace, step_seconds: float = 0.0) -> None:
        save_of(training, saver, pace, step_seconds)
        if not saver.is_busy and len(costs.synchronous) < len(costs.held):
            cpu, wall = time.process_time(), time.monotonic()
            save(training.snapshot())
            costs.cpu_of_save.append(time.process_time() - cpu)
            costs.synchronous.append(time.monotonic() - wall)

    with (
        patch.object(attempt, "Pace", pace),
        patch.object(Training, "_step", step),
        patch.object(Training, "_save_if_due", save_if_due),
    ):
        yield


def measure_saving(launch: Launch) -> dict[str, float]:
    """Trains with saves in the background, each followed by a synchronous one."""
    from argus_trainer.checkpoints.claims import Claims
    from argus_trainer.checkpoints.state import Maker, SnapshotToSave
    from argus_trainer.checkpoints.steps import Steps
    from argus_trainer.checkpoints.verification import Digests
    from argus_trainer.process.run import run
    from argus_trainer.process.stop import Stop
    from argus_trainer.process.surroundings import Surroundings, utc_now

    beside = open_store(f"{launch.checkpoint.uri}/beside", launch.storage)
    claims = Claims(beside)
    claim = claims.claim(pod="bench", node=None, now=utc_now(), resumed=None)
    steps = Steps(
        beside,
        claims,
        Digests(plan_digest="", statistics_digest="", configuration_digest=""),
        maker=Maker(versions={}, inexact_reason=lambda: None),
        keep_last=launch.checkpoint.keep_last,
        clock=utc_now,
    )

    def save(taken: "Snapshot") -> None:
        taken.refuse_broken()
        state = taken.state.to_wire()
        steps.save(claim, SnapshotToSave(step=taken.state.step, tensors=taken.tensors, state=state))

    costs = Costs()
    training = launch.training.model_copy(update={"max_steps": NUM_STEPS})
    launch = launch.model_copy(update={"training": training})
    with watched(costs, save):
        code = run(launch, Surroundings(pod="bench", stop=Stop(), say=lambda line: None))
    if code != 0 or len(costs.synchronous) < 3:
        raise SystemExit(f"the run ended with {code} after {len(costs.synchronous)} saves")
    held, synchronous = stat.median(costs.held), stat.median(costs.synchronous)
    cpu_of_save = stat.median(costs.cpu_of_save)
    cpu_of_period = sum(costs.cpu_of_step) / sum(costs.wall_of_step) * PERIOD_SECONDS
    print(
        f"{len(costs.held)} saves in {NUM_STEPS} steps of {stat.median(costs.wall_of_step):.2f} s:"
        f" held {held * 1e3:.0f} ms; synchronous {synchronous * 1e3:.0f} ms,"
        f" of them {cpu_of_save * 1e3:.0f} ms of the processor",
        flush=True,
    )
    return {
        "held_ratio": held / synchronous,
        "overhead_share": (held + cpu_of_save) / cpu_of_period,
    }


def measure_stops(launch: Launch) -> dict[str, float]:
    """Stops one run again and again, a while after its first new step."""
    dice, seconds, without_save = random.Random(0), [], 0
    with started("serve") as server:
        assert server.stdin is not None
        assert server.stdout is not None
        told = messages(server.stdout)
        next(told)
        for _ in range(NUM_STOPS):
            server.stdin.write(launch.model_dump_json(by_alias=True) + "\n")
            server.stdin.flush()
            pid = next(one["pid"] for one in told if "pid" in one)
            next(one for one in told if one.get("line") == "step")
            time.sleep(dice.uniform(0, LONGEST_RUN_SECONDS))
            os.kill(pid, signal.SIGTERM)
            asked, durable = time.monotonic(), None
            for one in told:
                if "Saved at step" in one.get("line", ""):
                    durable = one["time"]
                if "exit" in one:
                    break
            if one["exit"] != ExitCode.PREEMPTED:
                raise SystemExit(f"a stop ended with {one['exit']}")
            without_save += durable is None
            seconds.append((durable or time.monotonic()) - asked)
    print(
        f"{NUM_STOPS} stops: median {stat.median(seconds):.2f} s, longest {max(seconds):.2f} s;"
        f" {without_save} left by the signal's thread",
        flush=True,
    )
    return {"sigterm_max_seconds": max(seconds), "sigterm_median_seconds": stat.median(seconds)}


def seconds_to_first_step(launch: Launch) -> float:
    """Starts a cold process, stops it after its first new step, returns the time to that."""
    began = time.monotonic()
    with started("one") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(launch.model_dump_json(by_alias=True) + "\n")
        process.stdin.close()
        told = messages(process.stdout)
        step = next(one["time"] for one in told if one.get("line") == "step")
        process.send_signal(signal.SIGTERM)
        if process.wait() != ExitCode.PREEMPTED:
            raise SystemExit(f"a stop ended with {process.returncode}")
    return float(step) - began


def measure_starts(uri: str, storage: LaunchStorage) -> dict[str, float]:
    cold, resumed = [], []
    for number in range(NUM_STARTS):
        launch = launch_at(uri, f"{number:020d}", storage)
        cold.append(seconds_to_first_step(launch))
        resumed.append(seconds_to_first_step(launch))
        print(f"  a new run {cold[-1]:.1f} s, resumed {resumed[-1]:.1f} s", flush=True)
    return {
        "resume_ratio": stat.median(a / b for a, b in zip(resumed, cold, strict=True)),
        "resume_seconds": stat.median(resumed),
        "cold_start_seconds": stat.median(cold),
    }


def main() -> None:
    from tests.argus_trainer.conftest import started as server_started

    with ExitStack() as stack:
        server = server_started(stack)
        storage, uri = server.options(), server.new_uri()
        generate(open_store(f"{uri}/data", storage), servers=SERVERS, hours=HOURS, seed=1)
        figures = measure_starts(uri, storage)
        figures |= measure_saving(launch_at(uri, "a" * 20, storage))
        figures |= measure_stops(launch_at(uri, "b" * 20, storage))
    print(f"{'figure':>24} {'value':>10} {'goal':>10}")
    for name, value in figures.items():
        print(f"{name:>24} {value:>10.3f} {LIMITS.get(name, ''):>10}")
    emit("checkpoint", figures, ["torch", "pytorch-forecasting", "s3fs", "safetensors"])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["one"]:
            sys.exit(live(Launch.model_validate_json(sys.stdin.readline())))
        case _:
            main()
