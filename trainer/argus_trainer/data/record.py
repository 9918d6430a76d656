"""What statistics need of one object, whatever run it is read for.

The idea: a record depends on the object's bytes and on how they are read (cadence, columns,
units), never on the other objects or on the split. So it is made once for each version of an
object, can be kept, and runs merge records instead of reading rows again.
S servers of the object that have a row which counts, T its steps, R features, N targets.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argus_trainer.data.decode import Columns
from argus_trainer.data.inputs import softplus_inverse
from argus_trainer.data.moments import Floats, Indices, Moments
from argus_trainer.data.place import Placed, place

_LEAST_DECADE = -9
DECADE_EDGES = np.array([float(f"1e{decade}") for decade in range(_LEAST_DECADE, 1)])
"""Decade k holds [edge k - 1, edge k); 0 holds what is below all, the last what is above 1."""
NUM_DECADES = len(DECADE_EDGES) + 1
RECORD_VERSION = 2
"""Raised when the same object, read for the same form, gives another record."""


@dataclass(frozen=True, kw_only=True)
class RecordForm:
    """How the records of a run are made."""

    cadence_seconds: int
    features: tuple[str, ...]
    """Measured columns that are inputs and no targets."""
    targets: tuple[str, ...]
    has_status: bool
    has_profile: bool

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.features + self.targets


@dataclass(frozen=True, kw_only=True)
class TargetRecord:
    """One target of one object.

    A target is scaled after the inverse of softplus, which has no value at 0: values are
    raised to the target's resolution first, and that is only known when all objects are. So
    moments are kept apart by decade of the raw value, and only of decades that occur.
    """

    raw: Moments
    """[S] in the metric's own unit."""
    decades: Indices
    """[k] `server * NUM_DECADES + decade`, ascending."""
    inverse: Moments
    """[k] of the inverse softplus."""
    positive: Moments
    """[1] of all raw values above 0."""
    least_positive: float
    """Infinite when there is none."""

    @classmethod
    def of(cls, servers: Indices, values: Floats, num_servers: int) -> "TargetRecord":
        """Returns the record of [n] raw values, each of the server with this number."""
        decade = np.searchsorted(DECADE_EDGES, values, side="right")
        groups = servers * NUM_DECADES + decade
        inverse = softplus_inverse(values, DECADE_EDGES[0])
        by_decade = Moments.of(groups, inverse, num_servers * NUM_DECADES)
        decades = np.flatnonzero(by_decade.count)
        positive = values[values > 0]
        return cls(
            raw=Moments.of(servers, values, num_servers),
            decades=decades,
            inverse=by_decade.at(decades),
            positive=Moments.of_columns([positive], 1),
            least_positive=float(positive.min()) if positive.size else np.inf,
        )


@dataclass(frozen=True, kw_only=True)
class ObjectRecord:
    """One object."""

    servers: tuple[str, ...]
    """[S] names."""
    profiles: tuple[str, ...]
    """[S] the newest profile that the server's rows tell; empty text where they tell none."""
    states: tuple[str, ...]
    """Those that occur, sorted."""
    rows: int
    """Rows that count."""
    oddities: Mapping[str, int]
    """Rows that were settled by a rule, by the name of the rule; none with 0."""
    observed_SB: NDArray[np.uint8]
    """Steps with a row that counts, [S, T] packed to bits along the time."""
    features: Moments
    """[R] over all servers."""
    targets: tuple[TargetRecord, ...]
    """[N]"""


def record_of(columns: Columns, steps: tuple[int, int], form: RecordForm) -> ObjectRecord:
    """Returns the record of an object with the steps [start, end).

    `columns` has the values of `form.metrics`, and labels where the form has them.
    """
    every = np.arange(len(columns.servers.values))
    placed = place(columns, every, steps, form.cadence_seconds, len(form.targets))
    codes, servers = np.unique(placed.servers, return_inverse=True)
    observed = np.zeros((len(codes), steps[1] - steps[0]), dtype=np.bool_)
    observed[servers, placed.steps] = True
    num_features = len(form.features)
    return ObjectRecord(
        servers=tuple(columns.servers.values[code] for code in codes),
        profiles=_profiles(columns, placed, servers, len(codes)),
        states=_states(columns, placed),
        rows=len(placed.rows),
        oddities=_oddities(columns, placed),
        observed_SB=np.packbits(observed, axis=1),
        # One column at a time: all at once would be a second copy of the object.
        features=Moments.of_columns(
            (columns.values[placed.rows, index] for index in range(num_features)), num_features
        ),
        targets=tuple(
            TargetRecord.of(servers, columns.values[placed.rows, index], len(codes))
            for index in range(num_features, len(form.metrics))
        ),
    )


def _profiles(
    columns: Columns, placed: Placed, servers: Indices, num_servers: int
) -> tuple[str, ...]:
    profiles = [""] * num_servers
    if columns.profiles is not None:
        labels = columns.profiles.codes[placed.rows]
        told = np.flatnonzero(labels >= 0)
        # Rows stand by server, then time: the last of a server's rows is its newest.
        newest = told[np.flatnonzero(np.diff(servers[told], append=-1))]
        for server, label in zip(servers[newest], labels[newest], strict=True):
            profiles[server] = columns.profiles.values[label]
    return tuple(profiles)


def _states(columns: Columns, placed: Placed) -> tuple[str, ...]:
    if columns.status is None:
        return ()
    used = np.unique(columns.status.codes[placed.rows])
    return tuple(sorted(columns.status.values[code] for code in used if code >= 0))


def _oddities(columns: Columns, placed: Placed) -> dict[str, int]:
    counts = {
        "without_time": columns.without_time,
        "without_server": columns.without_server,
        "not_chosen": columns.not_chosen,
        "not_finite": columns.not_finite,
        "late": placed.late,
        "future": placed.future,
        "unsorted": placed.unsorted,
        "without_target": placed.without_target,
        "duplicates": placed.duplicates,
        "crowded": placed.crowded,
    }
    return {name: count for name, count in counts.items() if count}
