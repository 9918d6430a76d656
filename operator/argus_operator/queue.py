"""The work queue: keys of runs that someone should look at.

A key stands in it once, however many events named it; it is worked on by one worker at
a time, and comes again if it was named meanwhile. One heap holds every time-based duty:
retries with back-off and jitter, the wake-up time that a decision asked for, and the time
by which gathered news is looked at. What is named for now goes before these, so that many
runs at once get their Jobs first; what has waited long gets every second turn. State is in
memory only: after a restart, listing the resources fills it again.

`Backlog` is the arithmetic (the time is an argument); `WorkQueue` lets workers wait.
"""

import asyncio
import heapq
import math
import random
from collections.abc import Callable

from argus_operator.views import Key

FIRST_RETRY = 1.0
LAST_RETRY = 300.0
"""Seconds of back-off after the first failure, and at most."""
PATIENCE = 30.0
"""Seconds after which what came by its time gets turns although more is named for now. A thousand
runs at once have their Jobs by then, also at an API server that is slow."""


class Backlog:
    """Which key is due when. Not thread-safe; times are seconds of a monotonic clock."""

    def __init__(self, jitter: random.Random) -> None:
        self._jitter = jitter
        self._ready: dict[Key, float] = {}
        """Named for now, oldest first, with the time since when."""
        self._due: dict[Key, float] = {}
        """Come by their time, oldest first, with the time since when."""
        self._is_turn_of_due = False
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        """Named while a worker had it."""
        self._heap: list[tuple[float, Key]] = []
        self._wake_at: dict[Key, float] = {}
        self._look_by: dict[Key, float] = {}
        """The valid entries of each key in the heap; others are leftovers."""
        self._failures: dict[Key, int] = {}
        self._outdated: set[Key] = set()
        """Whose last look found that its picture was old."""

    def __len__(self) -> int:
        return len(self._ready) + len(self._due)

    def add(self, key: Key, now: float) -> None:
        """Makes the key due at once."""
        if key in self._working:
            self._again.add(key)
        else:
            self._ready.setdefault(key, self._due.pop(key, now))

    def add_by(self, key: Key, at: float) -> None:
        """Makes the key due at this time, if nothing does so before."""
        if key in self._ready or key in self._due or key in self._again:
            return
        if at < self._look_by.get(key, math.inf):
            self._look_by[key] = at
            heapq.heappush(self._heap, (at, key))

    def wake(self, key: Key, at: float | None) -> None:
        """Sets the one time at which the key comes by itself; None: never."""
        if at is None:
            self._wake_at.pop(key, None)
        else:
            self._wake_at[key] = at
            heapq.heappush(self._heap, (at, key))

    def take(self, now: float) -> Key | None:
        """Returns a key that is due and gives it to the caller, who must call `done`."""
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._is_valid(at, key):
                self._come(key, now)
        waiting = self._ready or self._due
        if self._ready and self._due:
            wait_long = now - next(iter(self._due.values())) > PATIENCE
            self._is_turn_of_due = wait_long and not self._is_turn_of_due
            if self._is_turn_of_due:
                waiting = self._due
        if not waiting:
            return None
        key = next(iter(waiting))
        del waiting[key]
        self._look_by.pop(key, None)
        self._working.add(key)
        return key

    def _come(self, key: Key, now: float) -> None:
        for times in (self._wake_at, self._look_by):
            if times.get(key, math.inf) <= now:
                del times[key]
        if key in self._working:
            self._again.add(key)
        elif key not in self._ready:
            self._due.setdefault(key, now)

    def done(self, key: Key, now: float) -> None:
        """Takes a key back that was worked on without a failure."""
        self._failures.pop(key, None)
        self._outdated.discard(key)
        self._release(key, now)

    def outdated(self, key: Key, now: float) -> bool:
        """Takes a key back whose picture was old, and makes it due at once.

        Returns False, and does nothing, if it was so the last time too: that is a failure.
        """
        if key in self._outdated:
            return False
        self._outdated.add(key)
        self._again.add(key)
        self._release(key, now)
        return True

    def failed(self, key: Key, now: float) -> float:
        """Takes a key back that failed; returns the seconds until it comes again by itself.

        If it was named meanwhile it is due at once: the news may be the cure.
        """
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        longest = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 16))
        pause = longest * self._jitter.uniform(0.5, 1.0) if failures > 1 else longest
        self.wake(key, now + pause)
        self._release(key, now)
        return pause

    def failures(self, key: Key) -> int:
        """Returns how often the key has failed in a row."""
        return self._failures.get(key, 0)

    def next_wake(self) -> float | None:
        """Returns when `take` may have something again, if nothing is added."""
        while self._heap and not self._is_valid(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _is_valid(self, at: float, key: Key) -> bool:
        return at in (self._wake_at.get(key), self._look_by.get(key))

    def is_worked_on(self) -> bool:
        return bool(self._working)

    def oldest(self, now: float) -> float:
        """Returns for how long the longest waiting due key has been waiting, in seconds."""
        since = [next(iter(waiting.values())) for waiting in (self._ready, self._due) if waiting]
        return now - min(since) if since else 0.0

    def _release(self, key: Key, now: float) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._ready.setdefault(key, now)


class WorkQueue:
    """A backlog that workers can wait for, in one event loop."""

    def __init__(
        self,
        clock: Callable[[], float],
        jitter: random.Random,
        is_settled: Callable[[Key], bool] = lambda _: False,
    ) -> None:
        """`is_settled`: says of which runs nothing is left to do; they are not taken."""
        self._backlog = Backlog(jitter)
        self._clock = clock
        self._is_settled = is_settled
        self._changed = asyncio.Event()
        self._taken_at = clock()
        self.is_open = False

    def open(self) -> None:
        """Takes and gives out keys from now on."""
        self.is_open = True
        self._changed.set()

    async def close(self) -> None:
        """Takes and gives out no more keys; returns when all that were taken are back."""
        self.is_open = False
        while self._backlog.is_worked_on():
            self._changed.clear()
            await self._changed.wait()

    def add(self, key: Key) -> None:
        """Makes the key due at once.

        Not while the queue is closed: of months in which a replica stands by nothing must be left
        for the moment in which it is needed. Who opens it names what there is to do.
        """
        self.add_within(key, 0.0)

    def add_within(self, key: Key, seconds: float) -> None:
        """Makes the key due by then: more news until then is looked at together with this."""
        if not self.is_open or self._is_settled(key):
            return
        now = self._clock()
        if seconds <= 0:
            self._backlog.add(key, now)
        else:
            self._backlog.add_by(key, now + seconds)
        self._changed.set()

    def wake_in(self, key: Key, seconds: float | None) -> None:
        """Sets or clears the time after which the key comes by itself."""
        self._backlog.wake(key, None if seconds is None else self._clock() + seconds)
        self._changed.set()

    async def take(self) -> Key:
        """Waits for a key that is due. The caller must call `done` or `failed`."""
        while (key := self._take()) is None:
            self._changed.clear()
            next_wake = self._backlog.next_wake() if self.is_open else None
            pause = None if next_wake is None else max(0.0, next_wake - self._clock())
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue
        if len(self._backlog):
            self._changed.set()
        return key

    def _take(self) -> Key | None:
        key = self._backlog.take(self._clock()) if self.is_open else None
        if key:
            self._taken_at = self._clock()
        return key

    def done(self, key: Key) -> None:
        self._backlog.done(key, self._clock())
        self._changed.set()

    def outdated(self, key: Key) -> bool:
        """Takes a key back whose picture was old; False: it was so the last time too."""
        self._changed.set()
        return self._backlog.outdated(key, self._clock())

    def failed(self, key: Key) -> float:
        """Returns the seconds until the key comes again."""
        pause = self._backlog.failed(key, self._clock())
        self._changed.set()
        return pause

    def failures(self, key: Key) -> int:
        return self._backlog.failures(key)

    def stalled(self) -> float:
        """Returns for how many seconds something is due and nothing was taken.

        A crowd that is worked off slowly is no stall.
        """
        now = self._clock()
        return min(self._backlog.oldest(now), now - self._taken_at) if self.is_open else 0.0
