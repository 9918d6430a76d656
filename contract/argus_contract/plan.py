"""What is decided once for a run: `plan.json` and `statistics.json`.

The plan comes from a listing alone; the statistics from one pass over the training part.
Every attempt only reads them, so that no attempt can train another model.
"""

from typing import Annotated

from pydantic import Field

from argus_contract.model import Model, Time
from argus_contract.names import CONTRACT_VERSION


class PinnedObject(Model):
    """One Parquet chunk, as it was when the plan was made."""

    key: str
    """Key relative to the dataset's uri."""
    size: int
    etag: str
    start: Time
    """First instant that belongs to the chunk."""
    end: Time
    """First instant after the chunk."""
    sliced: bool = False
    """Rows outside of the chunk are no oddity: other entries with the same key, for other
    chunks, take them, or the run's window does not want them."""


class TimeWindow(Model):
    """The time that the plan's chunks cover; `data.window`, resolved."""

    start: Time
    """First instant of the first chunk."""
    end: Time
    """First instant after the last chunk."""


class Split(Model):
    """Parts by time, at chunk borders, as indices into the plan's objects."""

    train_end: int
    """Objects [0, train_end) are the training part."""
    validation_end: int
    """Objects [train_end, validation_end) are validation; the rest is holdout."""


class Plan(Model):
    """What a run trains on and in which order."""

    contract_version: int = CONTRACT_VERSION
    run_key: str
    created_at: Time
    data_uri: str
    window: TimeWindow
    objects: tuple[PinnedObject, ...]
    """By time, then key. Entries of one chunk have the same start and end; chunks never overlap.
    An object that reaches into several chunks has an entry for each."""
    manifest_digest: str
    """SHA-256 over (key, size, etag) of all objects: the data version."""
    split: Split
    image: str
    seed: int
    block_chunks: Annotated[int, Field(ge=1)]
    """Chunks in a block, the unit of shuffling and caching."""
    mix_width: Annotated[int, Field(ge=1)]
    """Blocks whose windows are shuffled together."""
    bundle_name: str
    """tft_model_YYYYMMDD_HHMMSS, reserved for this run."""
    configuration_digest: str
    """Digest of the canonical data, model and training spec."""
    notes: tuple[str, ...] = ()
    """What the listing held and the plan left out, counted."""

    def files(self) -> tuple[PinnedObject, ...]:
        """Returns each object once, by the time of its first chunk."""
        return tuple({entry.key: entry for entry in self.objects}.values())


class Scaler(Model):
    """`(value - center) / scale`."""

    center: float
    scale: float


class TargetStatistics(Model):
    """Normalisation of one target: softplus-inverse, then per-server center and scale."""

    name: str
    fleet: Scaler
    """For servers that training never saw."""
    servers: tuple[Scaler, ...]
    """One per entry of `Statistics.servers`."""
    fleet_spread: Annotated[float, Field(gt=0)]
    """Of the fleet, for servers that training never saw."""
    spreads: tuple[Annotated[float, Field(gt=0)], ...]
    """Of each server, in the metric's own unit: what an error is measured against in the loss."""
    resolution: Annotated[float, Field(gt=0)] = 0.01
    """Raw values are raised to it before the inverse softplus, which has no value at 0."""


class FeatureStatistics(Model):
    """Standardisation of one continuous input over the fleet."""

    name: str
    scaler: Scaler


class BlockStatistics(Model):
    """What the order needs to know of one block without reading it."""

    windows: int
    mask_digest: str
    """SHA-256 of the block's window ids: a block that enumerates others is refused."""


class AbsentValues(Model):
    """One metric in the training part: in how many rows it has no value."""

    name: str
    absent: int
    rows: int
    """Rows in which it could have had one; of a target, also those that it keeps from counting."""


class Statistics(Model):
    """One streaming pass over the training part, and the windows of both parts."""

    contract_version: int = CONTRACT_VERSION
    plan_digest: str
    cadence_seconds: int
    time_zone: str = "UTC"
    """IANA name of the zone in which the calendar inputs are told."""
    rows: int
    """Of the training part, as they count."""
    servers: tuple[str, ...]
    """Vocabulary, sorted: position is the code."""
    unseen_servers: tuple[str, ...] = ()
    """Servers of the validation part that training never saw, sorted. Their codes follow those
    of `servers`; they have the fleet's scale and the profile of their name."""
    states: tuple[str, ...]
    """Vocabulary of the status column, sorted; empty when the data has none."""
    profiles: tuple[str, ...]
    """Profile of each server, in the order of `servers`."""
    features: tuple[FeatureStatistics, ...]
    """Continuous inputs that are not targets, in the order of the batch: calendar, measured."""
    targets: tuple[TargetStatistics, ...]
    """In the order of the spec."""
    training_blocks: tuple[BlockStatistics, ...]
    validation_blocks: tuple[BlockStatistics, ...]
    steps_per_epoch: int
    absent: tuple[AbsentValues, ...] = ()
    """Metrics of the training part without a value in some rows, inputs and targets."""
    notes: tuple[str, ...] = ()
    """Counted oddities for the log: duplicates, late rows, filled gaps."""
