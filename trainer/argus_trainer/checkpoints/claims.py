"""The ledger of attempts: who may write now, who tried before, and how that ended.

A trainer start claims the next number with If-None-Match; the highest claim owns the run. A
zombie (a pod that a lost node still runs) finds the claim above its own and stops. Records are
immutable, so each is read once per process. What earlier attempts left is history: a record that
cannot be read is passed over, and stops no run.
"""

import secrets
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from argus_contract import layout
from argus_contract.layout import StepId
from argus_contract.ledger import Claim, ClaimEnd, StepManifest
from argus_contract.model import Model
from argus_contract.status import DISRUPTIVE, Attempt, Disruptions, EndReason
from argus_trainer.checkpoints.signs import BEAT_SECONDS, STAMP, last_stamp
from argus_trainer.errors import DataError, ObjectExists, ObjectNotFound
from argus_trainer.storage.records import read, write_new
from argus_trainer.storage.store import Store, unconditional

M = TypeVar("M", bound=Model)

MAX_MESSAGE_LENGTH = 1024

_log = structlog.get_logger(__name__)


class Claims:
    """Claims of the run whose store this is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, Model | None] = {}

    def claim(self, *, pod: str, node: str | None, now: datetime, resumed: StepId | None) -> Claim:
        """Claims the run for this process and closes what predecessors left open.

        Raises ConfigurationError when the store ignores If-None-Match, on which all depends, and
        `storage.singleWriter` does not promise that it does not matter: then the store asks
        before it writes, and this proof finds it so.
        """
        token = secrets.token_hex(8)
        while True:
            claims, ends = self._numbers()
            claim = Claim(
                number=max(claims | self._saved(), default=0) + 1,
                token=token,
                pod=pod,
                node=node,
                time=now,
                resumed=resumed,
            )
            try:
                write_new(self._store, layout.claim(claim.number), claim)
            except ObjectExists:
                continue  # another start took this number; ours is above it
            self._prove_one_winner(claim)
            for number in sorted(claims - ends):
                self._close_lost(number, now)
            return claim

    def superseded(self, claim: Claim) -> bool:
        """Returns whether a newer claim owns the run: then nothing more may be written."""
        claims, _ = self._numbers()
        return max(claims, default=0) > claim.number

    def end(
        self,
        claim: Claim,
        *,
        reason: EndReason,
        exit_code: int | None,
        now: datetime,
        last_durable: StepId | None,
        lost_seconds: int,
        message: str | None = None,
    ) -> None:
        """Records how this attempt ended, unless a successor has already closed it."""
        self._write_end(
            ClaimEnd(
                number=claim.number,
                reason=reason,
                exit_code=exit_code,
                time=now,
                last_durable=last_durable,
                lost_seconds=lost_seconds,
                message=message[:MAX_MESSAGE_LENGTH] if message else None,
            )
        )

    def attempts(self, last: int = 10) -> tuple[Attempt, ...]:
        """Returns the `last` newest attempts, oldest first."""
        claims, ends = self._numbers()
        return tuple(
            _attempt(claim, self._end(number) if number in ends else None)
            for number in sorted(claims)[-last:]
            if (claim := self._claim(number))
        )

    def disruptions(self, gpus: int) -> Disruptions:
        """Returns what disruptions have cost a run that asked for `gpus` GPUs."""
        _, numbers = self._numbers()
        ends = [self._end(number) for number in sorted(numbers)]
        disruptive = [end for end in ends if end and end.reason in DISRUPTIVE]
        lost_seconds = sum(end.lost_seconds for end in disruptive)
        newest = disruptive[-1] if disruptive else None
        return Disruptions(
            count=len(disruptive),
            lost_seconds=lost_seconds,
            lost_gpu_seconds=lost_seconds * gpus,
            last_reason=newest and newest.reason,
            last_time=newest and newest.time,
        )

    def _prove_one_winner(self, claim: Claim) -> None:
        """Tries to take our own claim away again, which must fail."""
        rival = claim.model_copy(update={"token": f"rival-of-{claim.token}"})
        try:
            write_new(self._store, layout.claim(claim.number), rival)
        except ObjectExists:
            return
        # It holds the rival's words now, and is nobody's claim.
        self._store.delete([layout.claim(claim.number)])
        raise unconditional(
            self._store.uri,
            "lets a second writer replace an object (it ignores If-None-Match on PUT)",
        )

    def _close_lost(self, number: int, now: datetime) -> None:
        """Closes the claim of a process that left no word.

        When it died is not known: after its last sign of life (its log, its newest state or its
        claim), and before the next one was due or `now`. What it lost is counted up to the later
        end: from its newest state, or from its claim when it never saved. So `lost_seconds` is at
        most a minute too long, and never holds the time in which a successor waited for a node.
        It is too short only by an outage of the store in which the process died.
        """
        manifest, claim = self._newest_manifest(number), self._claim(number)
        saved_at = manifest.saved_at if manifest else claim.time if claim else now
        sign_of_life = max(saved_at, self._log_until(number) or saved_at)
        died_by = min(max(now, sign_of_life), sign_of_life + timedelta(seconds=BEAT_SECONDS))
        self._write_end(
            ClaimEnd(
                number=number,
                reason=EndReason.LOST,
                time=died_by,
                last_durable=manifest.id if manifest else None,
                lost_seconds=int((died_by - saved_at).total_seconds()),
                message=f"ended without a word after {sign_of_life:{STAMP}}",
            )
        )

    def _log_until(self, number: int) -> datetime | None:
        """Returns the time of the last line that a claim's process left in the bucket."""
        try:
            return last_stamp(self._store.get(layout.claim_log(number)))
        except ObjectNotFound:
            return None

    def _write_end(self, end: ClaimEnd) -> None:
        try:
            write_new(self._store, layout.claim_end(end.number), end)
        except ObjectExists:
            _log.info("claim was closed by another", claim=end.number, reason=end.reason)

    def _newest_manifest(self, number: int) -> StepManifest | None:
        """Returns the newest readable manifest of a claim; its tensors are not checked here."""
        prefix = layout.StepId(claim=number, step=0).manifest.partition("-")[0] + "-"
        keys = [entry.key for entry in self._store.list_objects(prefix)]
        for key in sorted(keys, reverse=True):
            if StepId.from_manifest(key) is None:
                continue
            try:
                return read(self._store, key, StepManifest)
            except (DataError, ObjectNotFound) as error:
                _log.warning("a state is passed over", reason=str(error))
        return None

    def _numbers(self) -> tuple[set[int], set[int]]:
        """Returns the numbers of all claims, and those of the claims that ended."""
        claims: set[int] = set()
        ends: set[int] = set()
        for entry in self._store.list_objects(layout.CLAIMS):
            found = layout.claim_number(entry.key)
            if found:
                (ends if found[1] else claims).add(found[0])
        return claims, ends

    def _saved(self) -> set[int]:
        """Returns the numbers of claims with a state: the next claim is above these as well, so
        that its states count although records of claims were lost."""
        keys = (entry.key for entry in self._store.list_objects(layout.STEPS))
        return {found.claim for key in keys if (found := StepId.from_manifest(key))}

    def _claim(self, number: int) -> Claim | None:
        return self._once(layout.claim(number), Claim)

    def _end(self, number: int) -> ClaimEnd | None:
        return self._once(layout.claim_end(number), ClaimEnd)

    def _once(self, key: str, kind: type[M]) -> M | None:
        if key not in self._read:
            try:
                self._read[key] = read(self._store, key, kind)
            except (DataError, ObjectNotFound) as error:
                _log.warning("a record of an earlier attempt is passed over", reason=str(error))
                self._read[key] = None
        record = self._read[key]
        return record if isinstance(record, kind) else None


def _attempt(claim: Claim, end: ClaimEnd | None) -> Attempt:
    return Attempt(
        number=claim.number,
        pod=claim.pod,
        node=claim.node,
        start=claim.time,
        end=end and end.time,
        end_reason=end and end.reason,
        exit_code=end.exit_code if end else None,
        start_step=claim.resumed.step if claim.resumed else 0,
        end_step=end.last_durable.step if end and end.last_durable else None,
        lost_seconds=end.lost_seconds if end else None,
        message=end.message if end else None,
    )
