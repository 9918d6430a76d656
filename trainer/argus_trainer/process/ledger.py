"""This attempt in the ledger: claimed once, ended once, whoever ends it.

The main thread ends an attempt; if it is stuck after a signal, the signal thread does.
"""

import threading
from collections.abc import Callable
from datetime import datetime

from argus_contract.layout import StepId
from argus_contract.ledger import Claim
from argus_contract.status import EndReason
from argus_trainer.checkpoints.claims import Claims
from argus_trainer.errors import ArgusError
from argus_trainer.process.ends import End
from argus_trainer.process.report import Report


class Ledger:
    """The claim of this process, once it has one."""

    def __init__(
        self,
        claims: Claims,
        *,
        report: Report,
        gpus: int,
        pod: str,
        node: str | None,
        clock: Callable[[], datetime],
        say: Callable[[str], None],
    ) -> None:
        self.claims = claims
        self._report = report
        self._gpus = gpus
        self._pod = pod
        self._node = node
        self._clock = clock
        self._say = say
        self._claim: Claim | None = None
        self._has_ended = False
        self._one_at_a_time = threading.Lock()

    def claim(self, *, resumed: StepId | None) -> Claim:
        """Returns this process's claim; the first call makes it."""
        if self._claim is None:
            self._claim = self.claims.claim(
                pod=self._pod, node=self._node, now=self._clock(), resumed=resumed
            )
            self._report.claimed(
                self._claim.number, self.claims.attempts(), self.claims.disruptions(self._gpus)
            )
        return self._claim

    def end(self, end: End, *, last_durable: StepId | None, lost_seconds: float) -> None:
        """Records how the attempt ended. A second call does nothing.

        A superseded attempt writes nothing: its successor has closed it. A store that is away
        or refuses leaves the attempt open: its successor closes it as Lost.
        """
        with self._one_at_a_time:
            if self._claim is None or self._has_ended or end.reason is EndReason.SUPERSEDED:
                return
            self._has_ended = True
            try:
                self.claims.end(
                    self._claim,
                    reason=end.reason,
                    exit_code=end.exit_code,
                    now=self._clock(),
                    last_durable=last_durable,
                    lost_seconds=round(lost_seconds),
                    message=end.message,
                )
                self._report.ledger(self.claims.attempts(), self.claims.disruptions(self._gpus))
            except ArgusError as error:
                self._say(f"[RUN] The end of attempt {self._claim.number} is not recorded: {error}")
