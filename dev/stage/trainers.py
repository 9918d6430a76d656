"""Trainers of a cluster whose pods run nothing: they end as a story says, with last words.

A story is told per Job: how its first pod ends, its second, and so on. What a trainer would know
from the bucket (claims, attempts before this one) is part of the words.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from argus_contract import names
from argus_contract.exit_codes import ExitCode
from argus_contract.progress import ProgressReport, TrainerPhase
from argus_contract.status import (
    Artifact,
    Attempt,
    Disruptions,
    EndReason,
    Progress,
    PublishedState,
)
from stage.api import Api, ApiRefused, JsonObject
from stage.control_plane import ControlPlane
from stage.simulated import pods_path

LOOK_SECONDS = 0.2
OWN = f"{names.LABEL_COMPONENT} in ({names.COMPONENT_TRAINER},{names.COMPONENT_PLANNER})"
_STEPS = 10


@dataclass(frozen=True)
class Ending:
    """How one pod ends."""

    code: int
    reason: EndReason


PUBLISHED = Ending(0, EndReason.COMPLETED)
EVICTED = Ending(ExitCode.PREEMPTED, EndReason.PREEMPTED)
STUCK = Ending(ExitCode.STUCK, EndReason.STUCK)
NO_DATA = Ending(ExitCode.DATA, EndReason.DATA)

Story = Sequence[Ending]


def words(run_key: str, pods: Sequence[str], story: Story) -> ProgressReport:
    """Returns the last report of the newest of these pods."""
    now = datetime.now(UTC).replace(microsecond=0)
    ending, number = story[len(pods) - 1], len(pods)
    attempts = tuple(
        Attempt(
            number=place,
            pod=pod,
            start=now - timedelta(seconds=1),
            end=now,
            end_reason=how.reason,
            exit_code=how.code,
        )
        for place, (pod, how) in enumerate(zip(pods, story, strict=False), start=1)
    )
    report = ProgressReport(
        run_key=run_key,
        phase=TrainerPhase.ENDED,
        time=now,
        claim=number,
        progress=Progress(
            percentage=100 * number // len(story),
            epoch=number,
            max_epochs=len(story),
            chunk=1,
            chunks=1,
            step=_STEPS * number,
            max_steps=_STEPS * len(story),
            eta_seconds=0,
            summary=f"epoch {number}/{len(story)}",
            last_update_time=now,
        ),
        attempts=attempts,
        disruptions=Disruptions(
            count=sum(how.reason is EndReason.PREEMPTED for how in story[:number]),
            lost_seconds=0,
            lost_gpu_seconds=0,
        ),
        end_reason=ending.reason,
        message=f"attempt {number} ended",
    )
    if ending is not PUBLISHED:
        return report
    bundle = Artifact(
        uri="s3://bucket/models/tft_model_20260131_100000",
        digest="0" * 64,
        files=("MANIFEST.json",),
        published=PublishedState.TRUE,
    )
    return report.model_copy(update={"artifact": bundle})


@dataclass
class Trainers:
    """Ends every pod of a trainer in a namespace; a thread, while used as a context."""

    plane: ControlPlane
    namespace: str
    story_of: Callable[[str], Story]
    """By the name of the run."""
    ended: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Names of the pods that have ended, by the uid of their Job."""
    again: list[str] = field(default_factory=list)
    """Pods that trained although the story of their Job was told."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _work(self) -> None:
        api = self.plane.api()
        pods = pods_path(self.namespace)
        while not self._stop.wait(LOOK_SECONDS):
            # An API server that is away, or a pod that has gone meanwhile: the next look sees.
            with suppress(OSError, ApiRefused):
                for pod in api.items(pods, labelSelector=OWN):
                    self._look(api, f"{pods}/{pod['metadata']['name']}", pod)

    def _look(self, api: Api, path: str, pod: JsonObject) -> None:
        meta = pod["metadata"]
        if pod["status"].get("phase") != "Running" or meta.get("deletionTimestamp"):
            return
        labels, (owner,) = meta["labels"], meta["ownerReferences"]
        if labels[names.LABEL_COMPONENT] == names.COMPONENT_PLANNER:
            self.plane.end_pod(self.namespace, meta["name"])
            return
        story, before = self.story_of(labels[names.LABEL_RUN_NAME]), self.ended[owner["uid"]]
        if meta["name"] in before:
            return
        if len(before) >= len(story):
            self.again.append(meta["name"])
            return
        pods = [*before, meta["name"]]
        report = words(labels[names.LABEL_RUN_KEY], pods, story)
        code = int(story[len(before)].code)
        self.plane.end_pod(self.namespace, meta["name"], code, report.to_termination_message())
        self.ended[owner["uid"]] = pods
