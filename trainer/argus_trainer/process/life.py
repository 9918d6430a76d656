"""From the first line to the exit code: what every process that a pod starts does alike.

It serves `/progress` while it works, answers a signal, and tells how it ended in its last words.
"""

import traceback
from typing import Protocol

from argus_contract.status import EndReason
from argus_trainer.process.ends import COMPLETED, End, end_of
from argus_trainer.process.report import Report
from argus_trainer.process.server import ProgressServer
from argus_trainer.process.surroundings import Surroundings


class Work(Protocol):
    """What one process is there for."""

    report: Report

    def go(self) -> None:
        """Goes all the way. Raises ArgusError where it ends early."""
        ...

    def leave(self, end: End) -> None:
        """Tells how it ended, in the last words too. Only the first call counts."""
        ...

    def leave_for_stuck_thread(self) -> int | None:
        """Leaves in place of a main thread that does not answer; returns the exit code.

        None: it has answered meanwhile, and goes on.
        """
        ...

    def drop(self) -> None:
        """Ends what would outlive the work in this process."""
        ...


def live(work: Work, surroundings: Surroundings) -> int:
    """Does the work to its end and returns the exit code. Raises nothing."""
    surroundings.stop.on_no_answer(work.leave_for_stuck_thread)
    server: ProgressServer | None = None
    try:
        if surroundings.progress_address:
            host, port = surroundings.progress_address
            server = ProgressServer(lambda: work.report.newest, host=host, port=port)
        work.go()
        end = COMPLETED
    # The last line of defence: whatever it is, it must reach the ledger and the last words.
    except Exception as error:
        end = end_of(error)
        if end.reason is EndReason.CRASHED:
            surroundings.say(traceback.format_exc().rstrip())
    surroundings.stop.answer()
    work.leave(end)
    work.drop()
    if server:
        server.close()
    return end.exit_code


def write_last_words(report: Report, surroundings: Surroundings) -> None:
    """Leaves the report where Kubernetes looks for it."""
    path = surroundings.termination_path
    try:
        if path:
            report.write_last_words(path)
    except OSError as error:
        # They only repeat what the bucket and /progress said: no reason to fail.
        surroundings.say(f"[RUN] {path} cannot be written: {error.strerror}")
