"""A small run that is killed at chosen points, over generated and over recorded data.

Most kills are injected: an exception that no handler of the product knows is raised at a point,
every thread of that life gets it at its next point, and all that was in memory is dropped. Real
processes (`processes`) are killed at the same points, so that the injection is proved faithful.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import safetensors.torch

from argus_contract import layout
from argus_contract.launch import Launch, LaunchData, LaunchStorage
from argus_contract.ledger import BundleManifest, ClaimEnd, Final
from argus_contract.plan import Plan, Statistics
from argus_contract.spec import TargetSpec, TrainingMode, TrainingSpec
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.memory import Memory
from argus_trainer.data.windows import WindowRules
from argus_trainer.errors import Preempted
from argus_trainer.ingest.metrics import import_metrics
from argus_trainer.ingest.read import Reading
from argus_trainer.process import attempt as attempt_module
from argus_trainer.process import device
from argus_trainer.process import run as run_module
from argus_trainer.process.ends import end_of
from argus_trainer.process.listeners import Listeners
from argus_trainer.process.log import Log
from argus_trainer.process.run import Journey
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings, utc_now
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.local import LocalStore
from argus_trainer.storage.open import open_store
from argus_trainer.training import pace
from toy import RUN_KEY, SMALL, toy_launch

NAB = Path(__file__).parents[2] / "data" / "nab"
SAVING_THREAD = "saver"
WINDOWS_PER_EPOCH = 350
"""Six steps, the last of them a short one."""

Signal = Literal["SIGTERM", "SIGKILL"]


class Killed(BaseException):
    """The process is gone. No handler of the product catches it."""


@dataclass(frozen=True)
class Point:
    """A place in a life: after a step, or at a call of the store while a state is saved."""

    kind: Literal["step", "store"]
    number: int
    """Of the step, over all epochs; or of the point among those of the life's saves, from 1."""


class Life:
    """One process: what it passes, and where it ends. A listener of the loop."""

    def __init__(self, at: Point | None, signal: Signal) -> None:
        self._at, self._signal = at, signal
        self._lock = threading.Lock()
        self.stop = _StopOfLife(self)
        self.dead = False
        self.ended = False
        """Whether it came to the end of the run."""
        self.ids_of_step: dict[int, tuple[int, ...]] = {}
        self.store_points: list[str] = []

    def passes(self, point: Point) -> None:
        with self._lock:
            self.goes_on()
            if point != self._at:
                return
            if self._signal == "SIGTERM":
                self.stop.request()
                return
            self.dead = True
            raise Killed

    def goes_on(self) -> None:
        if self.dead:
            raise Killed

    def passes_store(self, name: str) -> None:
        self.goes_on()
        if threading.current_thread().name.startswith(SAVING_THREAD):
            self.store_points.append(name)
            self.passes(Point("store", len(self.store_points)))

    def step_done(self, event: Any) -> None:
        self.ids_of_step[event.state.step] = tuple(event.window_ids.tolist())
        self.passes(Point("step", event.state.step))

    def untrained(self, state: Any) -> None:
        self.goes_on()

    def epoch_started(self, epoch: int) -> None:
        self.goes_on()

    def epoch_done(self, event: Any) -> None:
        self.goes_on()

    def saved(self, manifest: Any) -> None:
        self.goes_on()


class _StopOfLife(Stop):
    def __init__(self, life: Life) -> None:
        super().__init__()
        self._life = life

    def check(self) -> None:
        self._life.goes_on()
        super().check()


class StoreOfLife:
    """A store whose every call is two points: before and after it."""

    def __init__(self, store: LocalStore, life: Life, tensors: dict[str, str]) -> None:
        self._store, self._life, self._tensors = store, life, tensors
        self.uri = store.uri

    def put_new(self, key: str, data: bytes) -> None:
        self._call("put_new", key, data)
        if key.endswith(".safetensors"):
            self._tensors[key] = digest_of_tensors(data)

    def _call(self, operation: str, key: Any = "", *rest: Any, **options: Any) -> Any:
        self._life.passes_store(f"before {operation} {key}")
        result = getattr(self._store, operation)(key, *rest, **options)
        self._life.passes_store(f"after {operation} {key}")
        return result

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return partial(self._call, operation)


def digest_of_tensors(data: bytes) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(safetensors.torch.load(data).items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@dataclass
class SmallRun:
    """A run of one launch in a folder of its own, which lives many lives."""

    place: Path
    launch: Launch
    lives: list[Life] = field(default_factory=list)
    tensors: dict[str, str] = field(default_factory=dict)
    """Digest of each state that was written: weights, moments and best weights."""

    def live(self, at: Point | None = None, signal: Signal = "SIGKILL") -> Life:
        """Goes on in a new life until `at`, or to the end."""
        number = len(self.lives)
        life = Life(at, signal)
        self.lives.append(life)
        lines: list[str] = []
        surroundings = Surroundings(pod=f"life-{number}", stop=life.stop, say=lines.append)

        def opened(uri: str, *arguments: Any, **options: Any) -> StoreOfLife:
            return StoreOfLife(LocalStore(Path(uri)), life, self.tensors)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module, "open_store", opened)
            patch.setattr(attempt_module, "Listeners", lambda *others: Listeners(*others, life))
            fetcher = partial(Fetcher, num_threads=(1, 2, 16)[number % 3])
            patch.setattr("argus_trainer.data.dataset.Fetcher", fetcher)
            # A small run would save once a second at most.
            patch.setattr(pace, "MOST_SHARE_OF_TIME", 1e9)
            # The first life decides for all; one thread is the fastest for so small a network.
            patch.setattr(device, "usable_cpus", lambda: 1)
            log = Log(lines.append, utc_now)
            journey = Journey(self._launch_of_life(number), surroundings, log)
            try:
                journey.go()
                life.ended = True
            except Killed:
                pass
            except Preempted as error:
                journey.leave(end_of(error))
            finally:
                # Threads and files that the end of a real process takes with it.
                journey.drop()
        return life

    def chain(self, points: Sequence[Point], signal: Signal) -> int:
        """Kills one life after another, each at the next point, and returns how many it took."""
        for number, point in enumerate(points):
            if self.live(point, signal).ended:
                return number
        while not self.live().ended:
            pass
        return len(points)

    def outcome(self) -> dict[str, object]:
        """What must be equal to the bit."""
        final, published = self._final(), self.published()
        return published | {"tensors": self.tensors[final.id.tensors], "log": self.log()}

    def published(self) -> dict[str, object]:
        """The part of it that is public."""
        final = self._final()
        bundle = self.place / "models" / final.bundle_name / layout.BUNDLE_MANIFEST
        manifest = BundleManifest.model_validate_json(bundle.read_text())
        return {
            "windows": final.windows_digest,
            "step": final.id.step,
            "model": next(f.sha256 for f in manifest.files if f.name == "model.safetensors"),
            "metrics": manifest.metrics,
        }

    def _final(self) -> Final:
        return Final.model_validate_json((self.folder / layout.FINAL).read_text())

    def log(self) -> list[tuple[int, ...]]:
        """The window ids of each step, in order; every life must have had the same."""
        ids_of_step: dict[int, tuple[int, ...]] = {}
        for life in self.lives:
            for step, ids in life.ids_of_step.items():
                assert ids_of_step.setdefault(step, ids) == ids
        return [ids for _, ids in sorted(ids_of_step.items())]

    def ends(self) -> list[ClaimEnd]:
        claims = self.folder / layout.CLAIMS
        return [
            ClaimEnd.model_validate_json(path.read_text())
            for path in sorted(claims.glob("*-end.*"))
        ]

    @property
    def folder(self) -> Path:
        return self.place / "checkpoints" / RUN_KEY

    def _launch_of_life(self, number: int) -> Launch:
        """Another memory budget each time."""
        spec = self.launch.training
        if number % 3 == 1:
            spec = spec.model_copy(update={"mode": TrainingMode.STANDARD})
        elif number % 3 == 2:
            spec = spec.model_copy(update={"memory_budget": str(self._least_budget())})
        return self.launch.model_copy(update={"training": spec})

    def _least_budget(self) -> int:
        launch = self.launch
        plan = Plan.model_validate_json((self.folder / layout.PLAN).read_text())
        found = Statistics.model_validate_json((self.folder / layout.STATISTICS).read_text())
        rules = WindowRules.of(launch.model, launch.data, launch.training)
        return Memory.of(plan, found, rules, launch.training.batch_size).least


@pytest.fixture(scope="session", params=["generated", "nab"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LaunchData:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "generated":
        generate(
            open_store(str(folder), LaunchStorage()),
            servers=3,
            hours=24,
            seed=1,
            cadence_seconds=300,
            start=datetime(2025, 12, 1, tzinfo=UTC),
        )
        return LaunchData(uri=str(folder))
    import_metrics(
        sorted(NAB.glob("*.csv")),
        LocalStore(folder),
        Reading(names={"value": "cpu_user_pct"}, server_column=None),
    )
    window = {"start": "2014-02-15T00:00:00Z", "end": "2014-02-16T12:00:00Z"}
    return LaunchData.model_validate({"uri": str(folder), "window": window})


NewRun = Callable[..., SmallRun]


@pytest.fixture
def new_run(fleet: LaunchData, tmp_path: Path) -> NewRun:
    """Returns a function that makes a run in a new folder: `new_run("name", epochs=3)`."""
    return runs_below(tmp_path, fleet)


@pytest.fixture(scope="session")
def calm(fleet: LaunchData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the run that nothing disturbs comes to."""
    run = runs_below(tmp_path_factory.mktemp("calm"), fleet)("calm")
    assert run.live().ended
    return run.outcome()


def runs_below(folder: Path, fleet: LaunchData) -> NewRun:
    targets = ("cpu_user_pct",) if fleet.window.start else ("cpu_user_pct", "load_average")

    def make(name: str, *, epochs: int = 2) -> SmallRun:
        place = folder / name
        return SmallRun(
            place=place,
            launch=toy_launch(
                fleet,
                str(place),
                model=SMALL.model_copy(
                    update={"targets": tuple(TargetSpec(name=name) for name in targets)}
                ),
                training=TrainingSpec(
                    epochs=epochs, batch_size=64, windows_per_epoch=WINDOWS_PER_EPOCH
                ),
                storage=LaunchStorage(outage_tolerance_seconds=0),
                name="small",
            ),
        )

    return make


@dataclass
class Processes:
    """Runs launches in processes of their own, which get signals at places."""

    server: "subprocess.Popen[str]"

    def exit_code(self, run: SmallRun, **request: Any) -> int:
        """Returns the exit code of the next life of a run, negative for a signal."""
        document = {
            "launch": run.launch.to_wire(),
            "words": str(run.place) + "-words",
            # As in the injected lives: another number of threads would give other bits.
            "cpus": 1,
            "values": {"argus_trainer.training.pace:MOST_SHARE_OF_TIME": 1e9},
        } | request
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(document) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parents[1] / "fork_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GOMP_SPINCOUNT": "10000"},
    )
    with server:
        yield Processes(server)
        server.kill()


@pytest.fixture(scope="session")
def point() -> type[Point]:
    return Point
