"""Refuses a memory budget while statistics are made, not after them.

The first object with rows already tells cadence, inputs and most servers, and with the plan these
tell what a training takes at least, whatever the other objects hold: servers, inputs and states
are never taken back, and a block without a window takes what its records take. Reading all the
rest, maybe for an hour, would only tell how much more it is.
"""

from collections.abc import Sequence

from argus_contract.plan import Plan
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.memory import Memory
from argus_trainer.data.windows import WindowRules, training_spans, validation_spans
from argus_trainer.errors import ConfigurationError
from argus_trainer.wording import counted


class Foresight:
    """What a training over the servers that were seen so far takes at least."""

    def __init__(
        self, plan: Plan, rules: WindowRules, batch_size: int, *, budget: int | None
    ) -> None:
        """`budget` in bytes is the training's; None: no limit."""
        self._plan, self._rules, self._batch_size = plan, rules, batch_size
        self._budget = budget
        self._from_servers = 1
        """It costs a look at each object of the plan, so it is asked as servers double."""

    def wants(self, servers: int) -> bool:
        """Whether so many servers say more than those of the look before."""
        return self._budget is not None and servers >= self._from_servers

    def look(self, inputs: Inputs, cadence_seconds: int, *, servers: int, read: int) -> None:
        """Raises ConfigurationError where the budget is too small whatever else is read.

        `inputs` are those that are certain, `read` is the number of objects so far. What it names
        as enough is so for these servers, with as many windows as they may have.
        """
        self._from_servers = 2 * servers
        plan, rules = self._plan, self._rules
        spans = (
            *training_spans(plan, cadence_seconds, rules),
            *validation_spans(plan, cadence_seconds, rules),
        )

        def memory(windows: Sequence[int] | None) -> Memory:
            return Memory.about(
                plan,
                inputs,
                rules,
                self._batch_size,
                cadence_seconds=cadence_seconds,
                servers=servers,
                windows=windows,
            )

        if self._budget is None or self._budget >= memory([0] * len(spans)).least:
            return
        try:
            memory(None).shares(self._budget)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{error}; {counted(servers, 'server')} in the first {counted(read, 'chunk')} "
                "already show it, so the rest was not read"
            ) from error
