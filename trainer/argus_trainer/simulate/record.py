"""What a monitoring agent would have written down about the fleet, chunk by chunk.

Shape letters: T steps of one chunk, S servers, K metrics with noise of their own.
The only state between chunks is the noise of the last step and the last reboots, so a month
of a thousand servers needs the memory of one chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from argus_trainer.data.chunk_files import Chunk, chunk_end, chunk_starts
from argus_trainer.data.schema import METRICS, SERVER, STATES, STATUS, TIMESTAMP, WHOLE_METRICS
from argus_trainer.simulate.fleet import KINDS, MORNING_PREFIXES, Fleet, Floats

_NOISE_HOURS = 1.0
"""Time in which noise forgets itself."""
_NUM_NOISES = 8


@dataclass(frozen=True, kw_only=True)
class _Stress:
    """How far the incidents are, [T, S] each; 1 is the break."""

    build_up: dict[str, Floats]
    """By kind of incident."""
    critical: NDArray[np.bool_]
    offline: NDArray[np.bool_]
    recovering: NDArray[np.bool_]


def record(
    fleet: Fleet, start: datetime, hours: int, seed: int, cadence_seconds: int
) -> Iterator[Chunk]:
    """Yields the chunks of `hours` hours from `start`, in order of time."""
    end = start + timedelta(hours=hours)
    servers = len(fleet.names)
    rng = np.random.default_rng([seed, servers, hours, 1])
    noise_SK = rng.standard_normal((servers, _NUM_NOISES))
    last_boot_S = -fleet.boot
    for opens in chunk_starts(start, end):
        first = max(opens, start)
        closes = min(chunk_end(opens), end)
        steps = -(-int((closes - first).total_seconds()) // cadence_seconds)
        if not steps:
            continue
        seconds_T = int(first.timestamp()) + np.arange(steps) * cadence_seconds
        hours_T = (seconds_T - int(start.timestamp())) / 3600
        noise_TSK = _noise(rng, noise_SK, steps, cadence_seconds)
        noise_SK = noise_TSK[-1]
        stress = _stress(fleet, hours_T)
        uptime_TS, last_boot_S = _uptime(hours_T, stress.offline, last_boot_S)
        columns = _metrics(fleet, seconds_T, stress, noise_TSK)
        columns["uptime_days"] = uptime_TS / 24
        state_TS = _states(fleet, seconds_T, stress, columns)
        yield Chunk(
            start=opens,
            end=closes if closes == end else chunk_end(opens),
            table=_table(fleet, seconds_T, state_TS, columns),
        )


def _noise(rng: np.random.Generator, last_SK: Floats, steps: int, cadence_seconds: int) -> Floats:
    """Returns [T, S, K] unit noise that goes on from `last_SK` (an AR(1) process)."""
    keep = float(np.exp(-cadence_seconds / 3600 / _NOISE_HOURS))
    fresh_TSK: Floats = rng.standard_normal((steps, *last_SK.shape)) * np.sqrt(1 - keep**2)
    for step in range(steps):
        last_SK = fresh_TSK[step] + keep * last_SK
        fresh_TSK[step] = last_SK
    return fresh_TSK


def _stress(fleet: Fleet, hours_T: Floats) -> _Stress:
    shape = (len(hours_T), len(fleet.names))
    build_up = {kind: np.zeros(shape) for kind in KINDS}
    critical, offline, recovering = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
    for incident in fleet.incidents:
        if incident.recovered < hours_T[0] or incident.begin > hours_T[-1]:
            continue
        s = incident.server
        rising = np.clip((hours_T - incident.begin) / (incident.break_at - incident.begin), 0, 1)
        falling = np.clip(
            (incident.recovered - hours_T) / (incident.recovered - incident.repaired), 0, 1
        )
        # Slow at first: an incident is seen late and felt early.
        build_up[incident.kind][:, s] += rising**1.6 * falling
        broken = (hours_T >= incident.break_at) & (hours_T < incident.repaired)
        if incident.goes_offline:
            middle = (incident.break_at + incident.repaired) / 2
            offline[:, s] |= broken & (hours_T >= middle)
        critical[:, s] |= broken | ((rising > 0.9) & (hours_T < incident.break_at))
        recovering[:, s] |= (hours_T >= incident.repaired) & (hours_T < incident.recovered)
    return _Stress(build_up=build_up, critical=critical, offline=offline, recovering=recovering)


def _uptime(
    hours_T: Floats, offline_TS: NDArray[np.bool_], last_boot_S: Floats
) -> tuple[Floats, Floats]:
    """Returns hours since the last boot, [T, S], and the boots for the next chunk."""
    down_TS = np.where(offline_TS, hours_T[:, None], -np.inf)
    boot_TS = np.maximum(np.maximum.accumulate(down_TS, axis=0), last_boot_S)
    return hours_T[:, None] - boot_TS, boot_TS[-1]


def _metrics(
    fleet: Fleet, seconds_T: NDArray[np.int64], stress: _Stress, noise_TSK: Floats
) -> dict[str, Floats]:
    hour_T1 = (seconds_T % 86_400 / 3600)[:, None]
    weekend_T1 = ((seconds_T // 86_400 + 3) % 7 >= 5)[:, None]
    of = {
        name: np.array([getattr(c, name) for c in fleet.characters])
        for name in (
            "cpu_night",
            "cpu_day",
            "peak_hour",
            "weekend_share",
            "memory",
            "java_share",
            "iowait",
            "net_mb_s",
        )
    }
    leak, runaway, stall, connections = (stress.build_up[kind] for kind in KINDS)
    week_TS = np.where(weekend_T1, of["weekend_share"], 1.0)
    day_TS = (0.5 + 0.5 * np.cos((hour_T1 - of["peak_hour"]) * 2 * np.pi / 24)) ** 2 * week_TS
    morning_TS = _morning(fleet, hour_T1, week_TS)
    load_TS = fleet.level * (of["cpu_night"] + of["cpu_day"] * day_TS + 22 * morning_TS)
    quiet_TS = _in_maintenance(fleet, seconds_T)
    load_TS = np.where(quiet_TS, 3.0, load_TS)

    user = load_TS * np.exp(0.12 * noise_TSK[..., 0]) + 55 * runaway + 8 * leak
    system = 0.18 * load_TS * np.exp(0.15 * noise_TSK[..., 1]) + 6 * runaway + 5 * stall
    iowait = of["iowait"] * np.exp(0.3 * noise_TSK[..., 2]) * (0.4 + day_TS)
    iowait = iowait + 45 * stall + 18 * np.clip(leak - 0.6, 0, 1)
    busy = user + system + iowait
    share = np.minimum(1.0, 99.5 / busy)  # the four shares of a CPU never exceed 100
    user, system, iowait = user * share, system * share, iowait * share
    memory = of["memory"] + 6 * day_TS + 1.2 * noise_TSK[..., 3] + 38 * leak
    swap = np.clip(memory - 88, 0, None) * 3 + 30 * np.clip(leak - 0.7, 0, 1)
    traffic = of["net_mb_s"] * (0.15 + day_TS + morning_TS) * fleet.level
    down = stress.offline
    metrics = {
        "cpu_user_pct": user,
        "cpu_sys_pct": system,
        "cpu_iowait_pct": iowait,
        "cpu_idle_pct": 100 - user - system - iowait,
        "java_cpu_pct": user * of["java_share"],
        "mem_used_pct": np.clip(memory, 1, 99.5),
        "swap_used_pct": np.clip(swap, 0, 100),
        "disk_usage_pct": np.clip(fleet.disk + 3 * day_TS + 15 * stall, 0, 99),
        "net_in_mb_s": traffic * np.exp(0.25 * noise_TSK[..., 4]),
        "net_out_mb_s": 0.7 * traffic * np.exp(0.25 * noise_TSK[..., 5]),
        "back_close_wait": 4 + 5 * day_TS + 2 * noise_TSK[..., 6] + 220 * connections,
        "front_close_wait": 3 + 4 * day_TS + 2 * noise_TSK[..., 7] + 90 * connections,
        "load_average": 0.08 * (user + system) + 0.25 * iowait + 5 * runaway,
    }
    metrics = {name: np.where(down, 0.0, np.clip(v, 0, None)) for name, v in metrics.items()}
    metrics["disk_usage_pct"] = np.clip(fleet.disk + 3 * day_TS + 15 * stall, 0, 99)
    return metrics


def _morning(fleet: Fleet, hour_T1: Floats, week_TS: Floats) -> Floats:
    wakes_S = np.array([c.prefix in MORNING_PREFIXES for c in fleet.characters], dtype=np.float64)
    hump_T1: Floats = np.exp(-(((hour_T1 - 8.75) / 0.6) ** 2))
    return hump_T1 * wakes_S * week_TS


def _in_maintenance(fleet: Fleet, seconds_T: NDArray[np.int64]) -> NDArray[np.bool_]:
    hour_T1 = ((seconds_T / 3600 + 72) % 168)[:, None]
    inside: NDArray[np.bool_] = (hour_T1 >= fleet.maintenance_hour) & (
        hour_T1 < fleet.maintenance_hour + 1
    )
    return inside


def _states(
    fleet: Fleet, seconds_T: NDArray[np.int64], stress: _Stress, columns: dict[str, Floats]
) -> NDArray[np.int64]:
    """Returns codes into STATES, [T, S]; the first rule that holds wins."""
    hour_T1 = (seconds_T % 86_400 / 3600)[:, None]
    busy = columns["cpu_user_pct"] + columns["cpu_sys_pct"] + columns["cpu_iowait_pct"]
    morning_TS = _morning(fleet, hour_T1, np.ones(busy.shape))
    rules = (
        (stress.offline, "offline"),
        (_in_maintenance(fleet, seconds_T), "maintenance"),
        (stress.critical, "critical_issue"),
        (stress.recovering, "recovery"),
        ((morning_TS > 0.5) & (busy > 40), "morning_spike"),
        (busy > 62, "heavy_load"),
        (busy < 14, "idle"),
    )
    return np.select(
        [rule for rule, _ in rules],
        [np.int64(STATES.index(state)) for _, state in rules],
        default=np.int64(STATES.index("healthy")),
    )


def _table(
    fleet: Fleet,
    seconds_T: NDArray[np.int64],
    state_TS: NDArray[np.int64],
    columns: dict[str, Floats],
) -> pa.Table:
    steps, servers = state_TS.shape
    time = pa.array(np.repeat(seconds_T * 1000, servers), pa.timestamp("ms", tz="UTC"))
    name = pa.array(np.tile(np.array(fleet.names), steps), pa.string())
    state = pa.array(np.array(STATES)[state_TS.ravel()], pa.string())
    arrays: dict[str, pa.Array[Any]] = {TIMESTAMP: time, SERVER: name, STATUS: state}
    for metric in METRICS:
        values = columns[metric].ravel()
        if metric in WHOLE_METRICS:
            arrays[metric] = pa.array(np.floor(values).astype(np.int32))
        else:
            arrays[metric] = pa.array(np.round(values, 3))
    return pa.table(arrays)
