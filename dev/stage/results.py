"""What a run came to: its row in kubectl, its ledger, and the model itself."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from stage.bucket import filesystem, read_json
from stage.kubectl import kubectl
from stage.runs import RESOURCE, Run
from stage.waiting import TookTooLong, until


@dataclass(frozen=True, kw_only=True)
class Model:
    """Equal for two runs that trained on the same windows in the same order to the same bits."""

    windows: str
    """Chain of digests over the ids of all windows, from final.json."""
    weights: str
    """SHA-256 of model.safetensors."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An ended run."""

    printed: dict[str, str]
    """Its cells in `kubectl get -o wide`, by column."""
    status: dict[str, Any]
    model: Model | None
    """None when nothing was published."""

    @property
    def endings(self) -> list[str]:
        """Why each attempt ended."""
        return [attempt.get("endReason", "") for attempt in self.status.get("attempts", [])]

    @property
    def disruptions(self) -> int:
        return int(self.status.get("disruptions", {}).get("count", 0))

    @property
    def lost_seconds(self) -> int:
        return int(self.status.get("disruptions", {}).get("lostSeconds", 0))


def outcome_of(run: Run) -> Outcome:
    """Returns what an ended run came to."""
    status = run.status()
    return Outcome(
        printed=printed_row(run),
        status=status,
        model=model_of(status) if "artifact" in status else None,
    )


def model_of(status: dict[str, Any]) -> Model:
    """Reads the published model of a run."""
    final = read_json(f"{status['resolved']['checkpointUri']}/{status['runKey']}/final.json")
    weights = filesystem().cat_file(f"{status['artifact']['uri']}/model.safetensors")
    return Model(windows=final["windowsDigest"], weights=hashlib.sha256(weights).hexdigest())


def printed_row(run: Run) -> dict[str, str]:
    """Returns what kubectl prints of a run, by the name of the column.

    A cell may be empty or hold spaces: it begins where the name of its column does.
    """
    printed = kubectl("get", RESOURCE, run.name, "-n", run.namespace, "-o", "wide")
    head, row = printed.splitlines()[:2]
    found = list(re.finditer(r"\S+", head))
    ends = [*(match.start() for match in found[1:]), None]
    return {
        match.group(): row[match.start() : end].strip()
        for match, end in zip(found, ends, strict=True)
    }


def wait_row(run: Run, timeout: float, **cells: str) -> dict[str, str]:
    """Returns what kubectl prints of a run once it prints these cells, by the name of the column.

    Raises TookTooLong, which says what it printed last.
    """
    row: dict[str, str] = {}

    def is_printed() -> bool:
        row.clear()
        row.update(printed_row(run))
        return cells.items() <= row.items()

    try:
        until(is_printed, timeout, f"{run.name} to print {cells}")
    except TookTooLong as error:
        raise TookTooLong(f"{error}; it printed {row}") from error
    return row
