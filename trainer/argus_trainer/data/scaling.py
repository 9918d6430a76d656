"""Scalers from one pass: of features over the fleet, of targets per server.

A target is scaled after the inverse of softplus, which has no value at 0: values are raised
to the target's resolution first, and that is only known at the end. So the pass keeps the
moments apart by decade of the raw value; at the end all decades below the resolution become
the one value that they are raised to. Price: eleven moments for each server and target.
"""

import numpy as np
from numpy.typing import NDArray

from argus_contract.plan import FeatureStatistics, Scaler, TargetStatistics
from argus_trainer.data.inputs import softplus_inverse
from argus_trainer.data.moments import Floats, Moments

_LEAST_DECADE = -9
_EDGES = np.array([float(f"1e{decade}") for decade in range(_LEAST_DECADE, 1)])
"""Decade k holds [edge k - 1, edge k); 0 holds what is below all, the last what is above 1."""
_NUM_DECADES = len(_EDGES) + 1

RESOLUTION_SHARE = 1e-4
"""Of the mean of positive values: smaller ones are as good as this one."""
SCALE_FLOOR_SHARE = 0.1
"""Of the usual spread within a server: a server that was always quiet must not turn a first
small movement into thousands of deviations."""
SPREAD_FLOOR_SHARE = 0.25
"""Of the fleet's spread in raw units: an incident on a server that was always quiet must not
outweigh everything else that the loss sees."""
MIN_ROWS_OF_SERVER = 24
"""Below, a server has no scale of its own and takes the fleet's."""


class FeatureScaling:
    """One continuous input over the fleet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._moments = Moments.none(1)

    def add(self, values: Floats) -> None:
        """Takes [n] raw values, NaN where there is none."""
        groups = np.zeros(len(values), dtype=np.int64)
        self._moments = self._moments.merged(Moments.of(groups, values, 1))

    def statistics(self) -> FeatureStatistics | None:
        """Returns the scaler, or None when there was not one value."""
        if not self._moments.count[0]:
            return None
        center, spread = float(self._moments.mean[0]), float(self._moments.deviation[0])
        scale = spread if spread > 1e-6 * max(1.0, abs(center)) else 1.0
        return FeatureStatistics(name=self.name, scaler=Scaler(center=center, scale=scale))


class TargetScaling:
    """One target, per server and over the fleet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._moments = Moments.none(0)
        self._raw = Moments.none(0)
        self._positive = Moments.none(1)
        self._least_positive = np.inf

    def add(self, servers: NDArray[np.int64], values: Floats) -> None:
        """Takes [n] raw values of the servers with these codes."""
        if not len(values):
            return
        decade = np.searchsorted(_EDGES, values, side="right")
        groups = servers * _NUM_DECADES + decade
        num_groups = (int(servers.max()) + 1) * _NUM_DECADES
        inverse = softplus_inverse(values, _EDGES[0])
        self._moments = self._moments.merged(Moments.of(groups, inverse, num_groups))
        self._raw = self._raw.merged(Moments.of(servers, values, int(servers.max()) + 1))
        positive = values[values > 0]
        if len(positive):
            zeros = np.zeros(len(positive), dtype=np.int64)
            self._positive = self._positive.merged(Moments.of(zeros, positive, 1))
            self._least_positive = min(self._least_positive, float(positive.min()))

    def statistics(self, order: list[int]) -> TargetStatistics:
        """Returns the scalers of the servers with these codes, in this order."""
        first = self._first_decade()
        resolution = float(_EDGES[first - 1])
        servers = self._raised(first, resolution).at(order)
        fleet = servers.fleet()
        within = float(np.sqrt(servers.squares.sum() / max(1.0, servers.count.sum())))
        fleet_scale = float(fleet.deviation[0])
        fleet_scaler = Scaler(
            center=float(fleet.mean[0]), scale=fleet_scale if fleet_scale > 1e-6 else 1.0
        )
        floor = SCALE_FLOOR_SHARE * within if within > 1e-6 else fleet_scaler.scale
        return TargetStatistics(
            name=self.name,
            fleet=fleet_scaler,
            servers=tuple(
                Scaler(center=float(center), scale=max(float(spread), floor))
                if count >= MIN_ROWS_OF_SERVER
                else fleet_scaler
                for count, center, spread in zip(
                    servers.count, servers.mean, servers.deviation, strict=True
                )
            ),
            spreads=self._spreads(order, resolution),
            resolution=resolution,
        )

    def _spreads(self, order: list[int], resolution: float) -> tuple[float, ...]:
        """Returns each server's own spread in raw units, raised to the floor."""
        servers = self._raw.at(order)
        fleet = servers.fleet()
        of_fleet = float(fleet.deviation[0])
        if of_fleet > 1e-6 * max(1.0, abs(float(fleet.mean[0]))):
            floor = max(SPREAD_FLOOR_SHARE * of_fleet, resolution)
        else:
            # Never moved in training: one unit of the metric is as good as any other.
            floor = 1.0
        return tuple(
            max(float(spread), floor) if count >= MIN_ROWS_OF_SERVER else max(of_fleet, floor)
            for count, spread in zip(servers.count, servers.deviation, strict=True)
        )

    def _first_decade(self) -> int:
        """Returns the first decade whose values are taken as they are; at most the one of 1."""
        if self._least_positive == np.inf:
            least = 0.01
        else:
            least = max(self._least_positive, RESOLUTION_SHARE * float(self._positive.mean[0]))
        decade = int(np.searchsorted(_EDGES, least, side="right"))
        return min(max(decade, 1), _NUM_DECADES - 1)

    def _raised(self, first: int, resolution: float) -> Moments:
        """Returns the moments of each server with all decades below `first` at the resolution."""
        num_servers = len(self._moments.count) // _NUM_DECADES
        table = [
            self._moments.at(range(decade, num_servers * _NUM_DECADES, _NUM_DECADES))
            for decade in range(_NUM_DECADES)
        ]
        low = sum((decade.count for decade in table[:first]), np.zeros(num_servers))
        value = float(softplus_inverse(np.array([resolution]), resolution)[0])
        servers = Moments(
            count=low, mean=np.full(num_servers, value), squares=np.zeros(num_servers)
        )
        for decade in table[first:]:
            servers = servers.merged(decade)
        return servers
