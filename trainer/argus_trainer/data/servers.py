"""The servers of a run by code: those that training saw, then those that only validation saw.

The stock classes give a server that they were not fitted on the fleet's scale, and a profile
the code 0; so do we.
S servers, N targets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argus_contract.plan import Statistics
from argus_trainer.data.schema import profile_of


@dataclass(frozen=True, kw_only=True)
class Servers:
    """What the model is told of each server beside its rows."""

    names: tuple[str, ...]
    """[S]"""
    profiles: tuple[str, ...]
    """[S]"""
    groups_S: NDArray[np.int64]
    """Code in the stock dataset, which no input is. It goes on counting for servers that training
    never saw, after one number that it leaves out."""
    profiles_S: NDArray[np.int64]
    """Code of the profile: from 1, 0 for one that training never saw."""
    scalers_NS2: NDArray[np.float64]
    """Center and scale of each target."""
    spreads_NS: NDArray[np.float64]
    """Spread of each target in raw units."""

    @classmethod
    def of(cls, statistics: Statistics) -> "Servers":
        trained, unseen = statistics.servers, statistics.unseen_servers
        num = len(trained) + len(unseen)
        profiles = statistics.profiles + tuple(profile_of(name) for name in unseen)
        code_of = {name: code for code, name in enumerate(profile_names(statistics), start=1)}
        return cls(
            names=trained + unseen,
            profiles=profiles,
            groups_S=np.arange(1, num + 1) + (np.arange(num) >= len(trained)),
            profiles_S=np.array([code_of.get(name, 0) for name in profiles], dtype=np.int64),
            scalers_NS2=np.array(
                [
                    [
                        (s.center, s.scale)
                        for s in (*target.servers, *(target.fleet for _ in unseen))
                    ]
                    for target in statistics.targets
                ]
            ),
            spreads_NS=np.array(
                [
                    (*target.spreads, *(target.fleet_spread for _ in unseen))
                    for target in statistics.targets
                ]
            ),
        )


def profile_names(statistics: Statistics) -> list[str]:
    """Returns the profiles of the training part, sorted."""
    return sorted(set(statistics.profiles))
