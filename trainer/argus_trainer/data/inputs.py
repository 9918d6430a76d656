"""Which column stands where in a batch: the one place that knows the order.

The order is the stock TimeSeriesDataSet's own: static reals, known reals, unknown reals.

    center and scale of each target | calendar, relative_time_idx | measured features, targets
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argus_contract.plan import Scaler, Statistics
from argus_trainer.data.schema import CALENDAR
from argus_trainer.data.servers import Servers

RELATIVE_TIME = "relative_time_idx"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Names of the model's columns by role."""

    calendar: tuple[str, ...]
    features: tuple[str, ...]
    targets: tuple[str, ...]
    has_status: bool

    @classmethod
    def of(cls, statistics: Statistics) -> "Inputs":
        names = tuple(feature.name for feature in statistics.features)
        return cls(
            calendar=tuple(name for name in names if name in CALENDAR),
            features=tuple(name for name in names if name not in CALENDAR),
            targets=tuple(target.name for target in statistics.targets),
            has_status=bool(statistics.states),
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Columns that are read from chunks."""
        return self.features + self.targets

    @property
    def num_static(self) -> int:
        return 2 * len(self.targets)

    @property
    def relative_time_at(self) -> int:
        """Index of the relative time among all reals."""
        return self.num_static + len(self.calendar)

    @property
    def num_reals(self) -> int:
        return self.relative_time_at + 1 + len(self.metrics)


def static_scalers(statistics: Statistics) -> dict[str, Scaler]:
    """Returns the scalers of `<target>_center` and `<target>_scale`: over servers, each once."""
    scalers: dict[str, Scaler] = {}
    for target in statistics.targets:
        for part in ("center", "scale"):
            values = np.array([getattr(server, part) for server in target.servers])
            spread = float(values.std())
            # Servers that are all alike would otherwise divide by rounding errors.
            floor = 1e-6 * max(1.0, float(np.abs(values).max()))
            scalers[f"{target.name}_{part}"] = Scaler(
                center=float(values.mean()), scale=spread if spread > floor else 1.0
            )
    return scalers


def static_reals(statistics: Statistics, servers: Servers) -> NDArray[np.float32]:
    """Returns the scaled static inputs, [servers, 2 * targets]."""
    columns = []
    scalers = static_scalers(statistics)
    for target, values_S2 in zip(statistics.targets, servers.scalers_NS2, strict=True):
        for index, part in enumerate(("center", "scale")):
            scaler = scalers[f"{target.name}_{part}"]
            columns.append((values_S2[:, index] - scaler.center) / scaler.scale)
    return np.stack(columns, axis=1).astype(np.float32)


def softplus_inverse(values: NDArray[np.float64], resolution: float) -> NDArray[np.float64]:
    """Returns the inverse of softplus of values raised to `resolution`, as the stock class.

    The stock formula, in its order of operations: y + log(1 - exp(-(y + eps))), y above 20.
    """
    y = np.maximum(values, resolution)
    small = np.minimum(y, 20.0)
    eps = np.finfo(np.float64).eps
    return np.where(y > 20.0, y, y + np.log(-np.expm1(-(small + eps))))
