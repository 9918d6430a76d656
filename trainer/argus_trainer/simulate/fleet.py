"""Which servers there are, what they do all day, and when they break.

The idea: everything that spans time (rhythm, incidents, maintenance) is decided here from
the seed, before the first row; the recording only reads it. An incident is a story with a
build-up of hours, a break and a recovery, so that the past of a window tells its future.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KINDS = ("memory_leak", "cpu_runaway", "disk_stall", "connection_leak")


@dataclass(frozen=True, kw_only=True)
class Character:
    """How servers of one profile behave; percentages unless a unit is named."""

    prefix: str
    cpu_night: float
    cpu_day: float
    """Added at the peak hour."""
    peak_hour: float
    weekend_share: float
    """Part of the daily rhythm that is left on a weekend."""
    memory: float
    java_share: float
    iowait: float
    net_mb_s: float


CHARACTERS = (
    Character(
        prefix="ppweb",
        cpu_night=12,
        cpu_day=38,
        peak_hour=14,
        weekend_share=0.5,
        memory=48,
        java_share=0.7,
        iowait=1.0,
        net_mb_s=24,
    ),
    Character(
        prefix="ppdb",
        cpu_night=18,
        cpu_day=26,
        peak_hour=13,
        weekend_share=0.6,
        memory=70,
        java_share=0.05,
        iowait=6.0,
        net_mb_s=18,
    ),
    Character(
        prefix="ppml",
        cpu_night=45,
        cpu_day=22,
        peak_hour=22,
        weekend_share=0.9,
        memory=62,
        java_share=0.1,
        iowait=2.0,
        net_mb_s=10,
    ),
    Character(
        prefix="ppetl",
        cpu_night=10,
        cpu_day=48,
        peak_hour=3,
        weekend_share=0.8,
        memory=55,
        java_share=0.6,
        iowait=8.0,
        net_mb_s=40,
    ),
    Character(
        prefix="ppcon",
        cpu_night=8,
        cpu_day=14,
        peak_hour=10,
        weekend_share=0.4,
        memory=38,
        java_share=0.5,
        iowait=0.6,
        net_mb_s=4,
    ),
    Character(
        prefix="pprisk",
        cpu_night=15,
        cpu_day=50,
        peak_hour=18,
        weekend_share=0.2,
        memory=58,
        java_share=0.8,
        iowait=1.5,
        net_mb_s=12,
    ),
    Character(
        prefix="srv",
        cpu_night=10,
        cpu_day=20,
        peak_hour=12,
        weekend_share=0.6,
        memory=42,
        java_share=0.3,
        iowait=1.2,
        net_mb_s=8,
    ),
)
"""One per profile; `srv` names announce none (generic)."""
MORNING_PREFIXES = ("ppweb", "ppcon", "pprisk")
"""Profiles whose users log in at about the same time."""


@dataclass(frozen=True, kw_only=True)
class Incident:
    """One story on one server, in hours since the start of the recording."""

    server: int
    kind: str
    begin: float
    break_at: float
    """When the build-up is complete."""
    repaired: float
    recovered: float
    goes_offline: bool


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Arrays have one entry per server, in the order of `names`."""

    names: tuple[str, ...]
    characters: tuple[Character, ...]
    level: Floats
    """Factor of the server's own load."""
    maintenance_hour: Floats
    """Hour of the week (Monday 00:00 is 0) at which an hour of maintenance begins."""
    boot: Floats
    """Hours that the server had been up at the start."""
    disk: Floats
    incidents: tuple[Incident, ...]


def make_fleet(servers: int, hours: int, seed: int) -> Fleet:
    """Returns the same fleet for the same arguments."""
    rng = np.random.default_rng([seed, servers, hours, 0])
    characters = tuple(CHARACTERS[i % len(CHARACTERS)] for i in range(servers))
    names = tuple(f"{c.prefix}{i + 1:04d}" for i, c in enumerate(characters))
    incidents = [
        incident for server in range(servers) for incident in _incidents(rng, server, hours)
    ]
    return Fleet(
        names=names,
        characters=characters,
        level=rng.uniform(0.75, 1.25, servers),
        maintenance_hour=6 * 24 + np.floor(rng.uniform(0, 5, servers)),
        boot=rng.uniform(24, 24 * 120, servers),
        disk=rng.uniform(25, 75, servers),
        incidents=tuple(incidents),
    )


def _incidents(rng: np.random.Generator, server: int, hours: int) -> list[Incident]:
    """About one story in three days, never two at once on one server."""
    found: list[Incident] = []
    clock = rng.exponential(48.0)
    while clock < hours:
        break_at = clock + rng.uniform(2.0, 8.0)
        repaired = break_at + rng.uniform(0.4, 1.5)
        recovered = repaired + rng.uniform(0.5, 2.0)
        found.append(
            Incident(
                server=server,
                kind=KINDS[rng.integers(len(KINDS))],
                begin=clock,
                break_at=break_at,
                repaired=repaired,
                recovered=recovered,
                goes_offline=bool(rng.random() < 0.35),
            )
        )
        clock = recovered + 6.0 + rng.exponential(60.0)
    return found
