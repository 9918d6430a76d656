"""Keys of the objects in the bucket, relative to the checkpoint or the output prefix.

Nothing that is decided by is ever overwritten; every "only one may win" is a PUT with
`If-None-Match: *`. What only people read may be: `CURRENT`, and the log and the curves of a claim,
which only the process with that claim writes.
"""

import re
from datetime import UTC, datetime

from argus_contract.model import Model, Time
from argus_contract.run_key import RUN_KEY_LENGTH

PLAN = "plan.json"
STATISTICS = "statistics.json"
FINAL = "final.json"
CLAIMS = "claims/"
STEPS = "steps/"
REPINS = "repins/"
TENSORBOARD = "tensorboard/"
RECORDS = "stats/"
"""Below the checkpoint prefix itself: statistics of objects, shared by its runs."""
PUBLISHED = "published/"
BUNDLE_NAMES = "bundle-names/"
CURRENT = "CURRENT"
BUNDLE_MANIFEST = "MANIFEST.json"

_TIME = "%Y%m%dT%H%M%S"

_RUN = re.compile(rf"^[0-9a-f]{{{RUN_KEY_LENGTH}}}$")
_CLAIM = re.compile(r"^claims/(\d{6})(-end)?\.json$")
_STEP = re.compile(r"^steps/(\d{6})-(\d{12})\.(json|safetensors)$")
_REPIN = re.compile(r"^repins/(\d{6})\.json$")
_RECORDS = re.compile(r"^stats/([0-9a-f]{32})/(\d{8}T\d{6})-(\d{8}T\d{6})-([0-9a-f]{16})\.json$")
_PUBLISHED = re.compile(r"^published/(\d{8})\.json$")


def is_run(name: str) -> bool:
    """Whether a folder of the checkpoint prefix is that of a run."""
    return _RUN.match(name) is not None


def claim(number: int) -> str:
    """Key of the claim that a trainer start makes; the highest claim owns the run."""
    return f"{CLAIMS}{number:06d}.json"


def claim_end(number: int) -> str:
    """Key of the record of how that claim ended."""
    return f"{CLAIMS}{number:06d}-end.json"


def claim_log(number: int) -> str:
    """Key of the newest MiB of what that claim's process said; only that process writes it."""
    return f"{CLAIMS}{number:06d}.log"


def claim_dump(number: int) -> str:
    """Key of what made the training of that claim diverge."""
    return f"{CLAIMS}{number:06d}-diverged.json"


def claim_tensorboard(number: int) -> str:
    """Prefix of TensorBoard's files of that claim; only its process writes them."""
    return f"{TENSORBOARD}{number:06d}/"


def claim_number(key: str) -> tuple[int, bool] | None:
    """Returns (number, is the end record) of a claim's key, or None for another key."""
    match = _CLAIM.match(key)
    return (int(match[1]), bool(match[2])) if match else None


class StepId(Model):
    """Identity of a saved state; the highest valid (claim, step) is the state of the run."""

    claim: int
    step: int

    @property
    def manifest(self) -> str:
        """Key of the manifest: the step counts once it stands."""
        return f"{STEPS}{self.claim:06d}-{self.step:012d}.json"

    @property
    def tensors(self) -> str:
        """Key of the tensors, written before the manifest."""
        return f"{STEPS}{self.claim:06d}-{self.step:012d}.safetensors"

    def order(self) -> tuple[int, int]:
        """Sorts states: the claim counts before the step."""
        return self.claim, self.step

    @classmethod
    def from_manifest(cls, key: str) -> "StepId | None":
        match = _STEP.match(key)
        return (
            cls(claim=int(match[1]), step=int(match[2])) if match and match[3] == "json" else None
        )


def repin(number: int) -> str:
    """Key of a record of the append-only list of objects that were taken anew."""
    return f"{REPINS}{number:06d}.json"


def repin_number(key: str) -> int | None:
    match = _REPIN.match(key)
    return int(match[1]) if match else None


class RecordPack(Model):
    """Identity of a pack of statistics of objects: a cache, which may be deleted at any time."""

    scope: str
    """Digest of the dataset's address and of how it is read."""
    start: Time
    """First instant of the pack's objects: a run reads only packs of its own time."""
    end: Time
    digest: str
    """Of the index."""

    @property
    def index(self) -> str:
        """Key of the index: the pack counts once it stands."""
        return f"{self._stem}.json"

    @property
    def tensors(self) -> str:
        """Key of the tensors, written before the index."""
        return f"{self._stem}.safetensors"

    @classmethod
    def from_index(cls, key: str) -> "RecordPack | None":
        """Returns the pack of an index's key, or None for another key."""
        match = _RECORDS.match(key)
        if not match:
            return None
        start, end = (datetime.strptime(match[n], _TIME).replace(tzinfo=UTC) for n in (2, 3))
        return cls(scope=match[1], start=start, end=end, digest=match[4])

    @property
    def _stem(self) -> str:
        times = f"{self.start.strftime(_TIME)}-{self.end.strftime(_TIME)}"
        return f"{RECORDS}{self.scope}/{times}-{self.digest}"


def published(number: int) -> str:
    """Key of a record of the append-only list of published bundles."""
    return f"{PUBLISHED}{number:08d}.json"


def published_number(key: str) -> int | None:
    match = _PUBLISHED.match(key)
    return int(match[1]) if match else None


def bundle_name_reservation(name: str) -> str:
    """Key by which one run reserves a bundle name, which has one-second resolution."""
    return f"{BUNDLE_NAMES}{name}.json"
