"""What is decided once for a run, whoever decides first.

Two pods may start together: both make a plan, one is stored, and the loser goes on with the
winner's. So no caller ever uses what it made itself, only what stands in the bucket.
"""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from argus_contract import layout
from argus_contract.model import Model
from argus_contract.plan import Plan, Statistics
from argus_trainer.checkpoints.verification import Digests
from argus_trainer.errors import ConfigurationError, ObjectExists, ObjectNotFound
from argus_trainer.storage.records import read, write_new
from argus_trainer.storage.store import Store

M = TypeVar("M", bound=Model)


class RunStore:
    """Plan and statistics of the run whose store (`<checkpoint.uri>/<runKey>`) this is."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def plan(self) -> Plan | None:
        """Returns the run's plan, if one was made."""
        return self._stored(layout.PLAN, Plan)

    def statistics(self) -> Statistics | None:
        """Returns the run's statistics, if they were made."""
        return self._stored(layout.STATISTICS, Statistics)

    def plan_or(self, make: Callable[[], Plan]) -> Plan:
        """Returns the run's plan; calls `make` if there is none yet.

        Raises ConfigurationError when there was one: another plan would be no plan of what stands.
        """
        plan = self.plan()
        if plan is not None:
            return plan
        lost = lost_plan(self._store.uri, (entry.key for entry in self._store.list_objects()))
        # Another pod may have planned and gone on since the first look.
        if lost and self.plan() is None:
            raise ConfigurationError(lost)
        return self._once(layout.PLAN, Plan, make)

    def statistics_or(self, make: Callable[[], Statistics]) -> Statistics:
        """Returns the run's statistics; calls `make` (minutes) if there are none yet."""
        return self._once(layout.STATISTICS, Statistics, make)

    def digests(self, configuration_digest: str) -> Digests:
        """Returns what states of the run belong to. Plan and statistics must stand."""
        return Digests(
            plan_digest=self.digest(layout.PLAN),
            statistics_digest=self.digest(layout.STATISTICS),
            configuration_digest=configuration_digest,
        )

    def digest(self, key: str) -> str:
        """Returns the SHA-256 of an object as it stands."""
        return hashlib.sha256(self._store.get(key)).hexdigest()

    def refuse_changed(self, plan: Plan, configuration_digest: str) -> None:
        """Raises ConfigurationError when the plan was made for another configuration.

        What stays in memory and how often is saved may change; epochs or data make another run.
        """
        if plan.configuration_digest != configuration_digest:
            raise ConfigurationError(
                f"{self._store.uri}/{layout.PLAN} was made for another data, model or training "
                f"configuration (digest {plan.configuration_digest}, now {configuration_digest}): "
                "undo the change, or start a new run with another runToken"
            )

    def _once(self, key: str, kind: type[M], make: Callable[[], M]) -> M:
        stored = self._stored(key, kind)
        if stored is not None:
            return stored
        # If another pod was faster, its record is the run's.
        with suppress(ObjectExists):
            write_new(self._store, key, make())
        return read(self._store, key, kind)

    def _stored(self, key: str, kind: type[M]) -> M | None:
        try:
            return read(self._store, key, kind)
        except ObjectNotFound:
            return None


def lost_plan(uri: str, keys: Iterable[str]) -> str | None:
    """Returns the refusal of a run that had a plan and has none; None when all is well."""
    held = set(keys)
    left = [key for key in (layout.STATISTICS, layout.FINAL) if key in held]
    left += [layout.STEPS] if any(key.startswith(layout.STEPS) for key in held) else []
    if layout.PLAN in held or not left:
        return None
    return (
        f"{uri}/{layout.PLAN} is gone while {' and '.join(left)} of it stand: restore it, delete "
        f"{uri}/ to begin anew with the data of now, or start a new run with another runToken"
    )
