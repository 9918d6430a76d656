"""When a save is due: every so many chunks or seconds, whichever comes first.

Never so often that saving costs more than 1 % of the training time: what a save cost is the time
in which the training waited for its snapshot and the processor time that its upload took. A save
that failed is due again a little later, on the same condition.
"""

from dataclasses import dataclass

MOST_SHARE_OF_TIME = 0.01
RETRY_SECONDS = 5.0


@dataclass(kw_only=True)
class Pace:
    """Remembers the last save. Seconds are of one monotonic clock, given by the caller."""

    every_chunks: int
    period_seconds: float
    last_chunks: int = 0
    """Chunks consumed over all epochs at the last save."""
    last_seconds: float = 0.0
    """Time of the last save."""
    last_cost_seconds: float = 0.0
    """What it took from the training, as far as it is known."""

    def begin(self, chunks: int, now_seconds: float) -> None:
        """Starts to count here: at the state that an attempt goes on from."""
        self.last_chunks = chunks
        self.last_seconds = now_seconds

    def is_due(self, chunks: int, now_seconds: float, *, failing: bool = False) -> bool:
        """`failing` says that the last save has failed."""
        since = now_seconds - self.last_seconds
        if since * MOST_SHARE_OF_TIME < self.last_cost_seconds:
            return False
        if failing and since >= RETRY_SECONDS:
            return True
        return since >= self.period_seconds or chunks - self.last_chunks >= self.every_chunks

    def saved(self, chunks: int, now_seconds: float, cost_seconds: float) -> None:
        self.last_chunks = chunks
        self.last_seconds = now_seconds
        self.last_cost_seconds = cost_seconds

    def uploaded(self, cost_seconds: float) -> None:
        """The upload that belongs to the last save has ended."""
        self.last_cost_seconds += cost_seconds
