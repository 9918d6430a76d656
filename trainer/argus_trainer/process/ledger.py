"""This attempt in the ledger: claimed once, ended once, whoever ends it.

The main thread ends an attempt; if it is stuck after a signal, the signal thread does.
"""

import threading

from argus_contract.layout import StepId
from argus_contract.ledger import Claim
from argus_contract.status import DISRUPTIVE, Attempt, Disruptions, EndReason
from argus_trainer.checkpoints.claims import Claims
from argus_trainer.errors import ArgusError
from argus_trainer.process.ends import End
from argus_trainer.process.report import Report
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.process.traces import Traces, with_traces
from argus_trainer.storage.store import Store


class Ledger:
    """The claim of this process, once it has one."""

    def __init__(
        self,
        claims: Claims,
        store: Store,
        *,
        report: Report,
        gpus: int,
        surroundings: Surroundings,
        traces: Traces,
    ) -> None:
        """Once there is a claim, `traces` are kept under its number."""
        self.claims = claims
        self._store = store
        self._report = report
        self._gpus = gpus
        self._surroundings = surroundings
        self._traces = traces
        self._claim: Claim | None = None
        self._has_ended = False
        self._is_unrecorded = False
        self._one_at_a_time = threading.Lock()

    def claim(self, *, resumed: StepId | None) -> Claim:
        """Returns this process's claim; the first call makes it."""
        if self._claim is None:
            surroundings = self._surroundings
            surroundings.begin()
            self._claim = self.claims.claim(
                pod=surroundings.pod,
                node=surroundings.node,
                now=surroundings.clock(),
                resumed=resumed,
            )
            self._traces.keep(self._claim.number)
            self._report.claimed(
                self._claim.number, self._attempts(), self.claims.disruptions(self._gpus)
            )
        return self._claim

    @property
    def number(self) -> int | None:
        """Number of the claim, once there is one."""
        return self._claim.number if self._claim else None

    def tell(self) -> None:
        """Reports the ledger as it stands in the bucket, as far as that can be read."""
        if self._claim is None or self._is_unrecorded:
            return
        try:
            self._report.ledger(self._attempts(), self.claims.disruptions(self._gpus))
        except ArgusError as error:
            self._surroundings.say(f"[RUN] The ledger cannot be read: {error}")

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
                    now=self._surroundings.clock(),
                    last_durable=last_durable,
                    lost_seconds=round(lost_seconds),
                    message=end.message,
                )
            except ArgusError as error:
                self._surroundings.say(
                    f"[RUN] The end of attempt {self._claim.number} is not recorded: {error}"
                )
                self._is_unrecorded = True
                self._tell_unrecorded(self._claim.number, end, round(lost_seconds))

    def _attempts(self) -> tuple[Attempt, ...]:
        return with_traces(self.claims.attempts(), self._store)

    def _tell_unrecorded(self, number: int, end: End, lost_seconds: int) -> None:
        """Reports an end that the bucket does not know: the last words still reach the operator."""
        report, now = self._report.newest, self._surroundings.clock()
        before = report.disruptions or Disruptions(count=0, lost_seconds=0, lost_gpu_seconds=0)
        attempts = tuple(
            attempt.model_copy(
                update={
                    "end": now,
                    "end_reason": end.reason,
                    "exit_code": int(end.exit_code),
                    "lost_seconds": lost_seconds,
                    "message": end.message,
                }
            )
            if attempt.number == number
            else attempt
            for attempt in report.attempts
        )
        disruptions = before
        if end.reason in DISRUPTIVE:
            disruptions = Disruptions(
                count=before.count + 1,
                lost_seconds=before.lost_seconds + lost_seconds,
                lost_gpu_seconds=before.lost_gpu_seconds + lost_seconds * self._gpus,
                last_reason=end.reason,
                last_time=now,
            )
        self._report.ledger(attempts, disruptions)
