"""Scalers from merged records: of features over the fleet, of targets per server.

At the end of a pass the resolution of each target is known, and all decades below it become
the one value that they are raised to.
"""

import numpy as np

from argus_contract.plan import FeatureStatistics, Scaler, TargetStatistics
from argus_trainer.data.inputs import softplus_inverse
from argus_trainer.data.moments import Floats, Indices, Moments, RunningMoments
from argus_trainer.data.record import DECADE_EDGES, NUM_DECADES, TargetRecord

RESOLUTION_SHARE = 1e-4
"""Of the mean of positive values: smaller ones are as good as this one."""
SCALE_FLOOR_SHARE = 0.1
"""Of the usual spread within a server: a server that was always quiet must not turn a first
small movement into thousands of deviations."""
SPREAD_FLOOR_SHARE = 0.25
"""Of the fleet's spread in raw units: an incident on a server that was always quiet must not
outweigh everything else that the loss sees."""
STOCK_EPSILON = float(np.finfo(np.float16).eps)
"""Added to a scale by the stock GroupNormalizer, whose fit ours equals above the floors."""
MIN_ROWS_OF_SERVER = 24
"""Below, a server has no scale of its own and takes the fleet's."""


def feature_statistics(name: str, moments: Moments) -> FeatureStatistics | None:
    """Returns the scaler of a feature's moments [1], or None when there was not one value."""
    if not moments.count[0]:
        return None
    center, spread = float(moments.mean[0]), float(moments.deviation[0])
    scale = spread if spread > 1e-6 * max(1.0, abs(center)) else 1.0
    return FeatureStatistics(name=name, scaler=Scaler(center=center, scale=scale))


class TargetScaling:
    """One target, per server and over the fleet. Price: at most twelve moments a server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._inverse = RunningMoments()
        self._raw = RunningMoments()
        self._positive = Moments.none(1)
        self._least_positive = np.inf

    def add(self, codes: Indices, record: TargetRecord) -> None:
        """Takes the record of an object whose servers have these codes."""
        self._raw.add(codes, record.raw)
        server, decade = np.divmod(record.decades, NUM_DECADES)
        self._inverse.add(codes[server] * NUM_DECADES + decade, record.inverse)
        self._positive = self._positive.merged(record.positive)
        self._least_positive = min(self._least_positive, record.least_positive)

    def statistics(self, order: Indices) -> TargetStatistics:
        """Returns the scalers of the servers with these codes, in this order."""
        first = self._first_decade()
        resolution = float(DECADE_EDGES[first - 1])
        servers = self._raised(order, first, resolution)
        fleet = servers.fleet()
        within = float(np.sqrt(servers.squares.sum() / max(1.0, servers.count.sum())))
        fleet_scale = float(fleet.deviation[0])
        fleet_scaler = Scaler(
            center=float(fleet.mean[0]), scale=fleet_scale if fleet_scale > 1e-6 else 1.0
        )
        floor = SCALE_FLOOR_SHARE * within if within > 1e-6 else fleet_scaler.scale
        scales = np.maximum(servers.sample_deviation + STOCK_EPSILON, floor)
        fleet_spread, spreads = self._spreads(order, resolution)
        return TargetStatistics(
            name=self.name,
            fleet=fleet_scaler,
            fleet_spread=fleet_spread,
            servers=tuple(
                Scaler(center=float(center), scale=float(scale))
                if count >= MIN_ROWS_OF_SERVER
                else fleet_scaler
                for count, center, scale in zip(servers.count, servers.mean, scales, strict=True)
            ),
            spreads=tuple(spreads.tolist()),
            resolution=resolution,
        )

    def _spreads(self, order: Indices, resolution: float) -> tuple[float, Floats]:
        """Returns the fleet's and each server's own spread in raw units, raised to the floor."""
        servers = self._raw.of_first(int(order.max()) + 1).at(order)
        fleet = servers.fleet()
        of_fleet = float(fleet.deviation[0])
        if of_fleet > 1e-6 * max(1.0, abs(float(fleet.mean[0]))):
            floor = max(SPREAD_FLOOR_SHARE * of_fleet, resolution)
        else:
            # Never moved in training: one unit of the metric is as good as any other.
            floor = 1.0
        has_own = servers.count >= MIN_ROWS_OF_SERVER
        own = np.maximum(np.where(has_own, servers.deviation, of_fleet), floor)
        return max(of_fleet, floor), own

    def _first_decade(self) -> int:
        """Returns the first decade whose values are taken as they are; at most the one of 1."""
        if self._least_positive == np.inf:
            least = 0.01
        else:
            least = max(self._least_positive, RESOLUTION_SHARE * float(self._positive.mean[0]))
        decade = int(np.searchsorted(DECADE_EDGES, least, side="right"))
        return min(max(decade, 1), NUM_DECADES - 1)

    def _raised(self, order: Indices, first: int, resolution: float) -> Moments:
        """Returns the moments of each server with all decades below `first` at the resolution."""
        all_decades = self._inverse.of_first((int(order.max()) + 1) * NUM_DECADES)
        table = [all_decades.at(order * NUM_DECADES + decade) for decade in range(NUM_DECADES)]
        low = sum((decade.count for decade in table[:first]), np.zeros(len(order)))
        value = float(softplus_inverse(np.array([resolution]), resolution)[0])
        servers = Moments(count=low, mean=np.full(len(order), value), squares=np.zeros(len(order)))
        for decade in table[first:]:
            servers = servers.merged(decade)
        return servers
