"""A few training objects, spread over time, read as the run would read them.

They show how fast that is on this machine, and stand for the whole where nobody counted yet.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argus_contract.launch import Launch
from argus_contract.plan import PinnedObject, Plan
from argus_trainer.data.cadence import cadence_of
from argus_trainer.data.decode import ChunkFile, Columns
from argus_trainer.data.fetch import Content
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.place import place
from argus_trainer.data.plan import training_time
from argus_trainer.data.rules import Rules
from argus_trainer.data.schema import calendar_names, measured_inputs
from argus_trainer.data.windows import SERVER_SHIFT, object_steps
from argus_trainer.errors import DataError

NUM_SAMPLED = 8
"""Objects of a sample: seconds on any store, and enough to see gaps."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a few training objects show."""

    objects: int
    bytes: int
    seconds: float
    """Of fetching and decoding them one after another, on this machine."""
    rows: int
    """Rows that count; another one of the same server and step does not."""
    servers: int
    """Names seen in any of them."""
    rows_per_step: float
    """Servers that were observed at a step, on average."""
    cadence_seconds: int
    inputs: Inputs
    """What the model would see, by the last object that was read."""

    @property
    def coverage(self) -> float:
        """Share of the servers that a step sees."""
        return self.rows_per_step / self.servers if self.servers else 0.0


def sample_of(plan: Plan, launch: Launch, fetch: Callable[[PinnedObject], Content]) -> Sample:
    """Reads a sample of the training part.

    Raises DataError for an object that is not the pinned one or cannot be decoded, a missing
    target, and a sample in which no server has two rows.
    """
    targets = tuple(target.name for target in launch.model.targets)
    rules = Rules.of(launch.data)
    began = time.monotonic()
    read: list[tuple[PinnedObject, Columns]] = []
    for pinned in _spread(plan.objects[: plan.split.train_end]):
        file = ChunkFile(f"{plan.data_uri}/{pinned.key}", fetch(pinned), rules)
        present = file.present()
        metrics = (*measured_inputs(present.numeric, targets, rules.metrics), *targets)
        columns = file.columns(metrics, status=present.has_status, profile=present.has_profile)
        read.append((pinned, columns))
    seconds = time.monotonic() - began
    cadence = launch.data.cadence_seconds or next(
        (c for pinned, columns in read if (c := cadence_of(columns, pinned.key))), 0
    )
    if not cadence:
        raise DataError(
            f"data.uri {plan.data_uri}: no server has two rows in any of {len(read)} objects, so "
            "the cadence is unknown: set data.cadenceSeconds"
        )
    code_of: dict[str, int] = {}
    seen: list[NDArray[np.int64]] = []
    steps: set[int] = set()
    for pinned, columns in read:
        begin, end = object_steps(pinned, cadence)
        codes = [code_of.setdefault(name, len(code_of)) for name in columns.servers.values]
        placed = place(
            columns, np.array(codes, dtype=np.int64), (begin, end), cadence, len(targets)
        )
        seen.append((placed.servers << SERVER_SHIFT) + placed.steps + begin)
        steps.update(range(begin, end))
    rows = len(np.unique(np.concatenate(seen)))
    return Sample(
        objects=len(read),
        bytes=sum(pinned.size for pinned, _ in read),
        seconds=seconds,
        rows=rows,
        servers=len(code_of),
        rows_per_step=rows / len(steps),
        cadence_seconds=cadence,
        inputs=Inputs(
            calendar=calendar_names(training_time(plan)),
            features=metrics[: -len(targets)],
            targets=targets,
            has_status=present.has_status,
        ),
    )


def _spread(objects: Sequence[PinnedObject]) -> list[PinnedObject]:
    """Returns up to NUM_SAMPLED objects at equal distances, the first and the last included."""
    count = min(NUM_SAMPLED, len(objects))
    places = sorted({round(i * (len(objects) - 1) / max(count - 1, 1)) for i in range(count)})
    return [objects[place] for place in places]
