"""A scene: a run with children as the operator would see them; a test says what differs."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from argus_contract.names import KUEUE_QUEUE_LABEL
from argus_contract.progress import ProgressReport, TrainerPhase
from argus_contract.run_key import job_name, run_key
from argus_contract.spec import ArgusTrainingJobSpec
from argus_contract.status import (
    ArgusTrainingJobStatus,
    Artifact,
    Attempt,
    Checkpoint,
    ConditionType,
    Disruptions,
    EndReason,
    Metric,
    Progress,
    PublishedState,
)
from argus_operator.configuration import Configuration
from argus_operator.decide import decide
from argus_operator.decision import Decision
from argus_operator.observed import Observed, Poll
from argus_operator.reading import read_status
from argus_operator.views import Exit, Hindrance, JobEnd, JobView, Key, PodView, RunView

START = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
KEY = Key("team", "edge")
SPEC = {"data": {"uri": "s3://metrics/edge", "validation": {"policy": "Off"}}}
CONFIGURATION = Configuration.model_validate(
    {
        "clusterName": "test",
        "defaults": {
            "image": "registry/trainer:1",
            "checkpointUri": "s3://bucket/checkpoints",
            "outputUri": "s3://bucket/models",
            "storage": {"endpoint": "http://s3:9000", "secretRef": {"name": "keys"}},
            "resourcesPerNode": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "4"}},
        },
    }
)
RUN_KEY = run_key("test", *KEY, ArgusTrainingJobSpec.model_validate(SPEC))


@dataclass
class Scene:
    """Builds one `Observed`, decides on it, and can play on with the status that came out."""

    now: datetime = START + timedelta(seconds=100)
    configuration: Configuration = CONFIGURATION
    observed: Observed = field(init=False)

    def __post_init__(self) -> None:
        run = RunView(
            key=KEY,
            uid="run-uid",
            resource_version="1",
            generation=1,
            created=START,
            deleting=False,
            labels={},
            spec=ArgusTrainingJobSpec.model_validate(SPEC),
            spec_errors=(),
            status=ArgusTrainingJobStatus(),
        )
        self.observed = Observed(now=self.now, run=run)

    # --- what stands in the cluster -----------------------------------------------------

    def run(self, **changes: Any) -> "Scene":
        self.observed = replace(self.observed, run=replace(self.observed.run, **changes))
        return self

    def spec(self, **fields: Any) -> "Scene":
        return self.run(spec=ArgusTrainingJobSpec.model_validate({**SPEC, **fields}))

    def queue(self, name: str) -> "Scene":
        return self.run(labels={KUEUE_QUEUE_LABEL: name})

    def status(self, **fields: Any) -> "Scene":
        status = self.observed.run.status.model_copy(update=fields)
        return self.run(status=ArgusTrainingJobStatus.model_validate(status.model_dump()))

    def at(self, seconds: float) -> "Scene":
        self.observed = replace(self.observed, now=START + timedelta(seconds=seconds))
        return self

    def job(self, generation: int = 1, **changes: Any) -> "Scene":
        job = JobView(
            key=KEY,
            name=job_name(KEY.name, RUN_KEY, generation),
            uid=f"job-{generation}",
            run_key=RUN_KEY,
            queue=self.observed.run.labels.get(KUEUE_QUEUE_LABEL),
            resource_version=1,
            owner_uid="run-uid",
            created=START + timedelta(seconds=1),
        )
        known = tuple(j for j in self.observed.jobs if j.uid != job.uid)
        self.observed = replace(self.observed, jobs=(*known, replace(job, **changes)))
        return self

    def planning(self, generation: int = 1, **changes: Any) -> "Scene":
        """A Job that plans; its pods are those with owner_uid plan-1 and planning=True."""
        job = JobView(
            key=KEY,
            name=job_name(KEY.name, RUN_KEY, generation, planning=True),
            uid=f"plan-{generation}",
            resource_version=1,
            owner_uid="run-uid",
            created=START + timedelta(seconds=1),
            planning=True,
        )
        others = [j for j in self.observed.jobs if j.uid != job.uid]
        jobs = sorted((*others, replace(job, **changes)), key=lambda j: not j.planning)
        self.observed = replace(self.observed, jobs=tuple(jobs))
        return self

    def no_job(self) -> "Scene":
        self.observed = replace(self.observed, jobs=())
        return self

    def job_ended(self, end: JobEnd, reason: str = "", failed: int = 0) -> "Scene":
        return self.job(end=end, end_reason=reason or None, ended=self.observed.now, failed=failed)

    def pod(self, name: str = "a", **changes: Any) -> "Scene":
        """A pod that waits for its container; pods are ordered by name: a, b, c."""
        born = START + timedelta(seconds=2 + 10 * (ord(name[0]) - ord("a")))
        pod = PodView(
            key=KEY,
            name=name,
            uid=f"pod-{name}",
            resource_version=1,
            owner_uid="job-1",
            created=born,
            node="node-1",
        )
        known = tuple(p for p in self.observed.pods if p.name != name)
        pods = sorted((*known, replace(pod, **changes)), key=lambda p: p.created)
        self.observed = replace(self.observed, pods=tuple(pods))
        return self

    def running(self, name: str = "a", **changes: Any) -> "Scene":
        self.pod(name)
        born = next(p.created for p in self.observed.pods if p.name == name)
        fields = {"phase": "Running", "running": True, "ready": True, "ip": "10.0.0.1"}
        return self.pod(name, **{**fields, "started": born + timedelta(seconds=1), **changes})

    def ended(
        self,
        name: str = "a",
        code: int = 0,
        *,
        report: ProgressReport | None = None,
        reason: str = "Error",
        message: str | None = None,
        **changes: Any,
    ) -> "Scene":
        self.running(name)
        pod = next(p for p in self.observed.pods if p.name == name)
        exit_ = Exit(
            code=code,
            reason=reason,
            started=pod.started,
            finished=pod.created + timedelta(seconds=8),
            message=message,
            report=report,
        )
        phase = "Failed" if code else "Succeeded"
        fields = {"phase": phase, "running": False, "ready": False, "exit": exit_}
        return self.pod(name, started=pod.started, **{**fields, **changes})

    def says(self, name: str, report: ProgressReport | None, failure: str | None = None) -> "Scene":
        polls = {
            **self.observed.polls,
            f"pod-{name}": Poll(at=self.observed.now, report=report, failure=failure),
        }
        self.observed = replace(self.observed, polls=polls)
        return self

    def warning(self, reason: str, message: str) -> "Scene":
        self.observed = replace(
            self.observed, warnings=(Hindrance(reason=reason, message=message),)
        )
        return self

    # --- what the operator makes of it ---------------------------------------------------

    def decide(self) -> Decision:
        return decide(self.observed, self.configuration)

    def store(self) -> Decision:
        """Decides, and writes the status as the operator would: it reads back as it was."""
        decision = self.decide()
        assert read_status(decision.status.to_wire()) == decision.status
        self.run(status=decision.status)
        return decision


def attempt(number: int, pod: str, end: EndReason | None = None, **fields: Any) -> Attempt:
    born = START + timedelta(seconds=5 + 10 * (ord(pod[0]) - ord("a")))
    ended = born + timedelta(seconds=4) if end else None
    return Attempt(number=number, pod=pod, start=born, end=ended, end_reason=end, **fields)


def make_report(
    claim: int = 1,
    phase: TrainerPhase = TrainerPhase.TRAINING,
    step: int = 10,
    **fields: Any,
) -> ProgressReport:
    """What a trainer says; attempts before this one are taken for preempted."""
    pods = [chr(ord("a") + number) for number in range(claim)]
    attempts = tuple(
        attempt(number, pod, EndReason.PREEMPTED if number < claim else None, exit_code=None)
        for number, pod in enumerate(pods, start=1)
    )
    progress = Progress(
        percentage=step,
        epoch=1,
        max_epochs=2,
        chunk=1,
        chunks=4,
        step=step,
        max_steps=100,
        eta_seconds=100 - step,
        summary=f"{step}% epoch 1/2",
        last_update_time=START + timedelta(seconds=50),
    )
    return ProgressReport(
        run_key=RUN_KEY,
        phase=phase,
        time=START + timedelta(seconds=50),
        claim=claim,
        **{
            "progress": progress,
            "metrics": (Metric(name="val_loss", value="0.0912", best="0.083141", step=step),),
            "attempts": attempts,
            "disruptions": Disruptions(
                count=claim - 1, lost_seconds=3 * (claim - 1), lost_gpu_seconds=0
            ),
            **fields,
        },
    )


def make_checkpoint(step: int, resumed: int | None = None) -> Checkpoint:
    return Checkpoint(
        uri="s3://bucket/checkpoints/x/steps/1.json",
        step=step,
        saved_at=START,
        size_bytes=10,
        save_seconds="0.2",
        resumed_from_step=resumed,
    )


ARTIFACT = Artifact(
    uri="s3://bucket/models/tft_model_20260131_100000",
    digest="abc",
    files=("MANIFEST.json",),
    published=PublishedState.TRUE,
)


@pytest.fixture
def scene() -> Scene:
    """A run that was just applied."""
    return Scene()


@pytest.fixture
def make_scene() -> type[Scene]:
    return Scene


@pytest.fixture
def build() -> Any:
    """The builders of this file, for tests that need more than a scene."""

    class Build:
        report = staticmethod(make_report)
        attempt = staticmethod(attempt)
        checkpoint = staticmethod(make_checkpoint)
        artifact = ARTIFACT
        configuration = CONFIGURATION
        run_key = RUN_KEY
        key = KEY
        start = START

    return Build


@pytest.fixture
def conditions() -> Any:
    """Reads the conditions of a status as a mapping."""

    def read(decision: Decision) -> dict[ConditionType, str]:
        return {c.type: c.status.value for c in decision.status.conditions}

    return read
