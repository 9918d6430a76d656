"""Runs that a test disturbs, each compared with the same run left alone."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from stage.manifests import small_run
from stage.results import Outcome, outcome_of
from stage.runs import Run, saved_step

Fields = Mapping[str, Any]
NOTHING: Fields = MappingProxyType({})
END_SECONDS = 900
"""A run trains for half a minute; on a machine that is busy elsewhere, ten times as long."""


class Alone(Protocol):
    def __call__(self, **training: Any) -> Outcome:
        """Returns what the small run with these training fields comes to, left alone."""
        ...


@dataclass
class Trials:
    """Runs for a test to disturb; what each came to becomes a row of the table of faults."""

    namespace: str
    dataset: str
    began: dict[Run, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def document(self, fault: str, *, training: Fields = NOTHING, **spec: Fields) -> dict[str, Any]:
        """Returns the small run with these fields of its own, under the name of the fault."""
        document = small_run(fault, self.dataset, **training)
        for name, fields in spec.items():
            document["spec"][name] = {**document["spec"].get(name, {}), **fields}
        return document

    def apply(self, fault: str, *, training: Fields = NOTHING, **spec: Fields) -> Run:
        """Applies the small run with these fields of its own."""
        return self.apply_document(self.document(fault, training=training, **spec))

    def apply_document(self, document: dict[str, Any]) -> Run:
        """Applies a run that a test has changed further."""
        run = Run.apply(self.namespace, document)
        self.began[run] = time.monotonic()
        return run

    def begin(self, fault: str, *, training: Fields = NOTHING, **spec: Fields) -> Run:
        """Applies the small run, and waits until it trains and has a durable state."""
        return self.begin_with(self.document(fault, training=training, **spec))

    def begin_with(self, document: dict[str, Any]) -> Run:
        """Applies a run, and waits until it trains and has a durable state."""
        run = self.apply_document(document)
        run.wait(
            lambda s: s.get("reason") == "Training" and saved_step(s) and run.running_pod(), 240
        )
        return run

    def end(self, run: Run, *, beside: Outcome | None = None) -> Outcome:
        """Waits for the end. `beside`: the run left alone that this one should equal."""
        run.wait_end(END_SECONDS)
        found = outcome_of(run)
        row = {
            "fault": run.name,
            "phase": found.printed["PHASE"],
            "reason": found.printed["REASON"],
            "attempts": ", ".join(found.endings),
            "disruptions": found.disruptions,
            "lost_seconds": found.lost_seconds,
            "same_model": None if beside is None else found.model == beside.model,
            "seconds": round(time.monotonic() - self.began[run]),
        }
        self.rows.append(row)
        return found
