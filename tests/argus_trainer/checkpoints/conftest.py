"""A run in small: all that a trainer does to a bucket, in its order, with toy states.

What is stored is real (plan, claims, states, final state, bundle, list of published models);
what is trained is a tensor that counts steps, so that a life takes milliseconds.
"""

import ctypes
import hashlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from argus_contract import layout
from argus_contract.digests import wire_bytes
from argus_contract.launch import LaunchStorage
from argus_contract.layout import StepId
from argus_contract.ledger import BundleFile, BundleManifest, Claim, Final
from argus_contract.plan import Plan, Split, Statistics, TimeWindow
from argus_contract.spec import ResumePolicy
from argus_contract.status import EndReason
from argus_trainer.bundle.publish import publish, reserve_name
from argus_trainer.bundle.records import find_published
from argus_trainer.checkpoints.claims import Claims
from argus_trainer.checkpoints.resume import state_to_resume
from argus_trainer.checkpoints.run import RunStore
from argus_trainer.checkpoints.state import LoadedState, Maker, SnapshotToSave
from argus_trainer.checkpoints.steps import Steps
from argus_trainer.storage.open import open_store
from argus_trainer.storage.records import write_new
from argus_trainer.storage.store import ObjectInfo, Store

START = datetime(2026, 1, 31, 10, tzinfo=UTC)
RUN_KEY = "0123456789abcdef0123"
CONFIGURATION = "c" * 64


class Killed(BaseException):
    """The process is gone: no handler runs."""


@dataclass
class Fate:
    """How many requests a process lives to make, over all of its stores."""

    num_requests: int | None = None
    """None: as many as it wants."""
    made: list[str] = field(default_factory=list)
    """Requests that were carried out, as `put_new steps/...`."""

    def before(self, request: str) -> None:
        if self.num_requests is not None and len(self.made) >= self.num_requests:
            raise Killed
        self.made.append(request)

    @property
    def manifests(self) -> list[StepId]:
        """Ids of the states whose manifest was written."""
        keys = [text.partition(" ")[2] for text in self.made if text.startswith("put_new ")]
        return [step_id for step_id in map(StepId.from_manifest, keys) if step_id]


class Below:
    """A store below a prefix of another one: S3 clients take long to open, and one serves all."""

    def __init__(self, store: Store, prefix: str) -> None:
        self.store, self.prefix = store, f"{prefix}/" if prefix else ""

    @property
    def uri(self) -> str:
        return f"{self.store.uri}/{self.prefix}".rstrip("/")

    def list_objects(self, prefix: str = "") -> list[ObjectInfo]:
        return [
            replace(entry, key=entry.key.removeprefix(self.prefix))
            for entry in self.store.list_objects(self.prefix + prefix)
        ]

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        return self.store.get(self.prefix + key, etag=etag)

    def get_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        return self.store.get_range(self.prefix + key, start, end, etag=etag)

    def put_new(self, key: str, data: bytes) -> None:
        self.store.put_new(self.prefix + key, data)

    def put(self, key: str, data: bytes) -> None:
        self.store.put(self.prefix + key, data)

    def delete(self, keys: list[str]) -> None:
        self.store.delete([self.prefix + key for key in keys])


class Watched:
    """A store whose every request is counted, and may be the last of its process."""

    def __init__(self, store: Store, fate: Fate) -> None:
        self._store, self._fate = store, fate

    @property
    def uri(self) -> str:
        return self._store.uri

    def list_objects(self, prefix: str = "") -> list[ObjectInfo]:
        self._fate.before(f"list {prefix}")
        return self._store.list_objects(prefix)

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        self._fate.before(f"get {key}")
        return self._store.get(key, etag=etag)

    def get_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        self._fate.before(f"get {key}")
        return self._store.get_range(key, start, end, etag=etag)

    def put_new(self, key: str, data: bytes) -> None:
        self._fate.before(f"put_new {key}")
        self._store.put_new(key, data)

    def put(self, key: str, data: bytes) -> None:
        self._fate.before(f"put {key}")
        self._store.put(key, data)

    def delete(self, keys: list[str]) -> None:
        for key in keys:
            self._fate.before(f"delete {key}")
            self._store.delete([key])


def plan_of(bundle_name: str) -> Plan:
    return Plan(
        run_key=RUN_KEY,
        created_at=START,
        data_uri="s3://metrics",
        window=TimeWindow(start=START - timedelta(days=30), end=START),
        objects=(),
        manifest_digest="0",
        split=Split(train_end=0, validation_end=0),
        image="trainer:1",
        seed=42,
        block_chunks=1,
        mix_width=1,
        bundle_name=bundle_name,
        configuration_digest=CONFIGURATION,
    )


def statistics_of(plan: Plan) -> Statistics:
    return Statistics(
        plan_digest=hashlib.sha256(wire_bytes(plan)).hexdigest(),
        cadence_seconds=300,
        rows=1,
        servers=(),
        states=(),
        profiles=(),
        features=(),
        targets=(),
        training_blocks=(),
        validation_blocks=(),
        steps_per_epoch=1,
    )


def tensors_at(step: int) -> dict[str, torch.Tensor]:
    return {"model.w": torch.full((8,), float(step)), "best.w": torch.full((2,), float(step // 2))}


class Trainer:
    """One process of the run; `minute` is its clock."""

    def __init__(
        self, store_at: Callable[[str], Store], fate: Fate | None = None, **options: Any
    ) -> None:
        self.fate = fate or Fate()
        self.minute = 0.0
        self.said: list[str] = []
        self.policy: ResumePolicy = options.get("policy", ResumePolicy.AUTO)
        self.keep_last: int = options.get("keep_last", 3)
        self.store = Watched(store_at(f"checkpoints/{RUN_KEY}"), self.fate)
        self.output = Watched(store_at("models"), self.fate)
        self.claims = Claims(self.store)
        self.claim: Claim | None = None
        self.steps: Steps | None = None

    def now(self) -> datetime:
        return START + timedelta(minutes=self.minute)

    def live(self, last_step: int, *, until: int | None = None) -> Final | None:
        """The journey of `process.run`; `until` ends it after the save of that step."""
        if find_published(self.output, RUN_KEY):
            return None
        return self._go_on(self.begin(), last_step, until=until)

    def live_on(self, last_step: int) -> Final | None:
        """Goes on after `begin` and some saves."""
        return self._go_on(self.opened.newest(self.said.append), last_step, until=None)

    def _go_on(
        self, loaded: LoadedState | None, last_step: int, *, until: int | None
    ) -> Final | None:
        final = self.opened.final()
        if final is None:
            for step in range(loaded.id.step + 1 if loaded else 1, last_step + 1):
                self.save(step, last_step)
                if step == until:
                    return None
            final = self.finalize(last_step)
        self.publish(self.opened.load_final(final), final)
        self.end(EndReason.COMPLETED)
        return final

    def begin(self) -> LoadedState | None:
        """Plans if need be, looks for a state, claims."""
        self.begin_without_claim()
        return self.resume()

    def begin_without_claim(self) -> None:
        runs = RunStore(self.store)
        plan = runs.plan_or(self._make_plan)
        runs.statistics_or(lambda: statistics_of(plan))
        self.steps = Steps(
            self.store,
            self.claims,
            runs.digests(CONFIGURATION),
            maker=Maker(versions={"torch": "2.15.0"}, inexact_reason=lambda: None),
            keep_last=self.keep_last,
            clock=self.now,
        )

    def resume(self) -> LoadedState | None:
        loaded = None
        if self.opened.final() is None:
            loaded = state_to_resume(self.opened, self.policy, self.said.append)
        self._claimed(loaded.id if loaded else None)
        return loaded

    @property
    def opened(self) -> Steps:
        assert self.steps is not None
        return self.steps

    def save(self, step: int, last_step: int) -> None:
        snapshot = SnapshotToSave(
            step=step,
            tensors=tensors_at(step),
            state={"step": step},
            ends_training=step == last_step,
        )
        self.opened.save(self._claimed(None), snapshot)

    def finalize(self, last_step: int) -> Final:
        claim = self._claimed(None)
        newest = self.opened.newest(self.said.append)
        assert newest is not None
        assert newest.id.step == last_step
        return self.opened.finalize(
            claim, newest.id, run_key=RUN_KEY, bundle_name=self._bundle, windows_digest="d"
        )

    def publish(self, loaded: LoadedState, final: Final) -> None:
        """Writes a bundle of one file: a function of the final state alone."""
        data = loaded.tensors["model.w"].numpy().tobytes() * 50
        name = final.bundle_name
        self.output.put_new(f"{name}/model.safetensors", data)
        digest = hashlib.sha256(data).hexdigest()
        write_new(
            self.output,
            f"{name}/{layout.BUNDLE_MANIFEST}",
            BundleManifest(
                run_key=RUN_KEY,
                files=(BundleFile(name="model.safetensors", size=len(data), sha256=digest),),
                manifest_digest="0",
                window_end=START,
                seed=42,
                image="trainer:1",
                metrics={},
                versions={},
            ),
        )
        publish(self.output, name, who="ns/run")
        self.opened.remove_all()

    def end(self, reason: EndReason) -> None:
        self.claims.end(
            self._claimed(None),
            reason=reason,
            exit_code=0,
            now=self.now(),
            last_durable=None,
            lost_seconds=0,
        )

    @property
    def _bundle(self) -> str:
        plan = RunStore(self.store).plan()
        assert plan is not None
        return plan.bundle_name

    def _claimed(self, resumed: StepId | None) -> Claim:
        if self.claim is None:
            self.claim = self.claims.claim(pod="pod", node="node", now=self.now(), resumed=resumed)
        return self.claim

    def _make_plan(self) -> Plan:
        self._claimed(None)
        return plan_of(reserve_name(self.output, RUN_KEY, START))


@dataclass(frozen=True)
class Toolbox:
    """What tests of this folder are made with."""

    trainer: type[Trainer] = Trainer
    fate: type[Fate] = Fate
    watched: type[Watched] = Watched
    killed: type[Killed] = Killed
    run_key: str = RUN_KEY

    def tensors_at(self, step: int) -> dict[str, torch.Tensor]:
        return tensors_at(step)

    def places_in(self, base: Store) -> Callable[[str], Store]:
        return places_in(base)

    def places(self, store_at: Callable[[str], Store], name: str) -> Callable[[str], Store]:
        """Places below a prefix of others."""
        return lambda prefix: store_at(f"{name}/{prefix}" if prefix else name)


@pytest.fixture
def store_at(store_at: Callable[[str], Store]) -> Callable[[str], Store]:
    return places_in(store_at(""))


@pytest.fixture
def folder_at(tmp_path: Path) -> Callable[[str], Store]:
    return places_in(open_store(str(tmp_path / "store"), LaunchStorage()))


@pytest.fixture
def bucket_at(s3: Any) -> Callable[[str], Store]:
    return places_in(open_store(s3.new_uri(), s3.options()))


def places_in(base: Store) -> Callable[[str], Store]:
    return lambda prefix: Below(base, prefix)


@pytest.fixture
def tools() -> Toolbox:
    return Toolbox()


class Toxiproxy:
    """A real toxiproxy between a client and an S3 server, told over its HTTP interface."""

    def __init__(self, api: str, upstream: str) -> None:
        self._api = api
        reply = self._ask(
            "POST", "/proxies", {"name": "s3", "listen": "127.0.0.1:0", "upstream": upstream}
        )
        self.endpoint = f"http://{reply['listen']}"

    def add(self, kind: str, stream: str, **attributes: int) -> None:
        """Adds a toxic to the `stream`: upstream is towards the server."""
        toxic = {"name": kind, "type": kind, "stream": stream, "attributes": attributes}
        self._ask("POST", "/proxies/s3/toxics", toxic)

    def heal(self) -> None:
        """Takes all toxics away and closes no door."""
        for toxic in self._ask("GET", "/proxies/s3/toxics"):
            self._ask("DELETE", f"/proxies/s3/toxics/{toxic['name']}")
        self.open_door(is_open=True)

    def open_door(self, *, is_open: bool) -> None:
        self._ask("POST", "/proxies/s3", {"enabled": is_open})

    def remove(self) -> None:
        self._ask("DELETE", "/proxies/s3")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._api}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as reply:
            text = reply.read()
        return json.loads(text) if text else None


@pytest.fixture(scope="session")
def toxiproxy_api() -> Iterator[str]:
    """The address of a running toxiproxy, which is built when it is not in the cache."""
    from cluster.binaries import program
    from cluster.places import Places

    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    path = program(Places.from_environment(os.environ), "toxiproxy")
    prctl = ctypes.CDLL(None).prctl
    process = subprocess.Popen(
        [path, "-host", "127.0.0.1", "-port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: prctl(1, signal.SIGKILL),
    )
    api = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{api}/version", timeout=1).read()
            break
        except OSError:
            if time.monotonic() > end or process.poll() is not None:
                pytest.fail("toxiproxy did not start")
            time.sleep(0.05)
    yield api
    process.kill()
    process.wait()


@pytest.fixture
def toxiproxy(s3: Any, toxiproxy_api: str) -> Iterator[Toxiproxy]:
    proxy = Toxiproxy(toxiproxy_api, s3.endpoint.removeprefix("http://"))
    yield proxy
    proxy.remove()
