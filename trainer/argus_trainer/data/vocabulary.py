"""Names of servers, states and profiles over one pass, without a step of Python for each row.

Codes inside a pass follow the first appearance; the vocabulary of a run is sorted. What
training saw and what only validation saw are kept apart by the place of the border.
"""

from collections.abc import Sequence

import numpy as np

from argus_trainer.data.moments import Indices
from argus_trainer.data.record import ObjectRecord
from argus_trainer.data.schema import profile_of


class Vocabulary:
    """Servers of the records that were added."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._profiles: dict[str, str] = {}
        self.num_trained = 0
        """Codes below it are of servers that training saw."""
        self._states: set[str] = set()
        self._later_states: set[str] = set()
        # A fleet is the same for many objects: then nothing has to be looked up.
        self._last: tuple[tuple[str, ...], Indices] = ((), np.zeros(0, dtype=np.int64))
        self._last_profiles: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, record: ObjectRecord, *, is_training: bool) -> Indices:
        """Returns the codes of the record's servers. Training comes first, then the rest."""
        if record.servers != self._last[0]:
            codes = [self._codes.setdefault(name, len(self._codes)) for name in record.servers]
            self._last = record.servers, np.array(codes, dtype=np.int64)
        if not is_training:
            self._later_states.update(record.states)
        else:
            self.num_trained = len(self._codes)
            self._states.update(record.states)
            told = (record.servers, record.profiles)
            if told != self._last_profiles:
                self._profiles |= {
                    name: profile for name, profile in zip(*told, strict=True) if profile
                }
                self._last_profiles = told
        return self._last[1]

    @property
    def names(self) -> tuple[str, ...]:
        """Servers by their code."""
        return tuple(self._codes)

    @property
    def states(self) -> tuple[str, ...]:
        """States of the training part, sorted."""
        return tuple(sorted(self._states))

    @property
    def unseen_states(self) -> tuple[str, ...]:
        """States of the validation part alone, sorted: a batch shows them as unknown."""
        return tuple(sorted(self._later_states - self._states))

    @property
    def trained(self) -> tuple[str, ...]:
        """Servers of the training part, sorted."""
        return tuple(sorted(list(self._codes)[: self.num_trained]))

    @property
    def unseen(self) -> tuple[str, ...]:
        """Servers of the validation part alone, sorted."""
        return tuple(sorted(list(self._codes)[self.num_trained :]))

    def codes(self, names: Sequence[str]) -> Indices:
        """Returns the codes of known servers."""
        return np.array([self._codes[name] for name in names], dtype=np.int64)

    def profiles(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns the newest profile that training rows tell, else that of the server's name."""
        return tuple(self._profiles.get(name) or profile_of(name) for name in names)
