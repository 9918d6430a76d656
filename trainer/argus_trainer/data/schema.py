"""The columns of a dataset: the training guide's names, states, profiles and calendar.

The idea: a column is an input because it is there, not because a list demands it. What a
user does not record is absent from the model too.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from argus_contract.plan import Scaler
from argus_trainer.errors import ConfigurationError, DataError

TIMESTAMP = "timestamp"
SERVER = "server_name"
STATUS = "status"
PROFILE = "profile"

METRICS = (
    "cpu_user_pct",
    "cpu_sys_pct",
    "cpu_iowait_pct",
    "cpu_idle_pct",
    "java_cpu_pct",
    "mem_used_pct",
    "swap_used_pct",
    "disk_usage_pct",
    "net_in_mb_s",
    "net_out_mb_s",
    "back_close_wait",
    "front_close_wait",
    "load_average",
    "uptime_days",
)
"""Numeric columns of the guide, in the order in which they are inputs."""
WHOLE_METRICS = ("back_close_wait", "front_close_wait", "uptime_days")
"""Metrics that the guide records as integers."""

STATES = (
    "critical_issue",
    "healthy",
    "heavy_load",
    "idle",
    "maintenance",
    "morning_spike",
    "offline",
    "recovery",
)

GENERIC_PROFILE = "generic"
PROFILE_OF_PREFIX = {
    "ppcon": "conductor_mgmt",
    "ppdb": "database",
    "ppetl": "data_ingest",
    "ppml": "ml_compute",
    "pprisk": "risk_analytics",
    "ppweb": "web_api",
}

CALENDAR = {
    # Mean and standard deviation of the uniform calendar: no data is needed to know them, and
    # a short dataset does not bend them.
    "hour": Scaler(center=11.5, scale=float(np.sqrt((24**2 - 1) / 12))),
    "day_of_week": Scaler(center=3.0, scale=2.0),
    "is_weekend": Scaler(center=2 / 7, scale=float(np.sqrt(10)) / 7),
    "month": Scaler(center=6.5, scale=float(np.sqrt((12**2 - 1) / 12))),
}
"""Inputs that are known in the future, with their scalers."""
MONTH_NEEDS = timedelta(days=365)
"""Training time below which the month would only tell the model how late it is."""


def profile_of(server: str) -> str:
    """Returns the profile that a server's name announces by its prefix."""
    for prefix, profile in PROFILE_OF_PREFIX.items():
        if server.startswith(prefix):
            return profile
    return GENERIC_PROFILE


def calendar_names(training_time: timedelta) -> tuple[str, ...]:
    """Returns the calendar inputs that this much training time can teach."""
    return tuple(name for name in CALENDAR if name != "month" or training_time >= MONTH_NEEDS)


def calendar(
    steps: NDArray[np.int64], cadence_seconds: int, name: str, zone: str
) -> NDArray[np.float64]:
    """Returns one calendar input for absolute steps of any shape.

    `zone` is an IANA name: the hour is what a clock on the wall there shows, so a day has 23 or
    25 of them when daylight saving time begins or ends.
    """
    seconds = _on_the_wall(steps * cadence_seconds, zone)
    days = seconds // 86_400
    if name == "hour":
        return (seconds // 3_600 % 24).astype(np.float64)
    if name == "month":
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return (months % 12 + 1).astype(np.float64)
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    if name == "day_of_week":
        return weekday.astype(np.float64)
    return (weekday >= 5).astype(np.float64)


def zone_of(name: str) -> ZoneInfo:
    """Returns the zone of an IANA name. Raises ConfigurationError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"data.timeZone {name} is unknown: use an IANA name, for example Europe/Berlin"
        ) from error


_OFFSET_SECONDS = 900
"""Offsets change at quarters of an hour and at no other time."""


def _on_the_wall(seconds: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Returns seconds since 1970 as local clocks count them."""
    if zone == "UTC" or not seconds.size:
        return seconds
    quarters = seconds // _OFFSET_SECONDS
    distinct, places = np.unique(quarters, return_inverse=True)
    offsets = np.array([_offset(zone, quarter) for quarter in distinct.tolist()], dtype=np.int64)
    return seconds + offsets[places].reshape(seconds.shape)


@lru_cache(maxsize=1 << 17)
def _offset(zone: str, quarter: int) -> int:
    """Returns how far local clocks are ahead of UTC, in seconds."""
    instant = datetime.fromtimestamp(quarter * _OFFSET_SECONDS, zone_of(zone))
    offset = instant.utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def measured_inputs(
    numeric: Iterable[str], targets: Sequence[str], listed: Sequence[str] = ()
) -> tuple[str, ...]:
    """Returns the inputs among `numeric` columns: the guide's metrics, then other `listed` ones.

    Targets are not among them.

    Raises DataError when a target is not among them, naming it and what is there.
    """
    present = set(numeric)
    for target in targets:
        if target in CALENDAR:
            raise DataError(
                f"model.targets: {target} is an input that Argus makes from the clock; "
                "rename the column to predict it"
            )
        if target not in present:
            raise DataError(
                f"model.targets: the data has no numeric column {target}; it has "
                f"{', '.join(sorted(present)) or 'none'}: name targets among these"
            )
    known = dict.fromkeys((*METRICS, *listed))
    return tuple(name for name in known if name in present and name not in targets)
