"""Keys of the objects in the bucket, relative to the checkpoint or the output prefix.

Nothing but `CURRENT` is ever overwritten; every "only one may win" is a PUT with
`If-None-Match: *`.
"""

import re

from argus_contract.model import Model

PLAN = "plan.json"
STATISTICS = "statistics.json"
FINAL = "final.json"
CLAIMS = "claims/"
STEPS = "steps/"
REPINS = "repins/"
PUBLISHED = "published/"
BUNDLE_NAMES = "bundle-names/"
CURRENT = "CURRENT"
BUNDLE_MANIFEST = "MANIFEST.json"

_CLAIM = re.compile(r"^claims/(\d{6})(-end)?\.json$")
_STEP = re.compile(r"^steps/(\d{6})-(\d{12})\.(json|safetensors)$")
_REPIN = re.compile(r"^repins/(\d{6})\.json$")
_PUBLISHED = re.compile(r"^published/(\d{8})\.json$")


def claim(number: int) -> str:
    """Key of the claim that a trainer start makes; the highest claim owns the run."""
    return f"{CLAIMS}{number:06d}.json"


def claim_end(number: int) -> str:
    """Key of the record of how that claim ended."""
    return f"{CLAIMS}{number:06d}-end.json"


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


def published(number: int) -> str:
    """Key of a record of the append-only list of published bundles."""
    return f"{PUBLISHED}{number:08d}.json"


def published_number(key: str) -> int | None:
    match = _PUBLISHED.match(key)
    return int(match[1]) if match else None


def bundle_name_reservation(name: str) -> str:
    """Key by which one run reserves a bundle name, which has one-second resolution."""
    return f"{BUNDLE_NAMES}{name}.json"
