"""Calls in threads that nobody has to wait for.

Those of `concurrent.futures` are joined when the interpreter ends: one request that hangs would
hold back a process that has seconds to live. These are daemons.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Thread(threading.Thread):
    """One of these."""


def is_daemon() -> bool:
    """Returns whether this thread is one of `Daemons`: a call may take its time in it."""
    return isinstance(threading.current_thread(), _Thread)


class _Job(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self.call = call
        self.reply: Future[T] = Future()

    def run(self) -> None:
        if self.reply.set_running_or_notify_cancel():
            try:
                self.reply.set_result(self.call())
            except BaseException as error:
                self.reply.set_exception(error)

    def drop(self) -> None:
        self.reply.cancel()
        self.reply.set_running_or_notify_cancel()


class Daemons:
    """At most `num_threads` calls at a time, begun in the order given."""

    def __init__(self, num_threads: int, name: str) -> None:
        self._num_threads, self._name = num_threads, name
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._threads: list[_Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Returns the reply to come; after `close`, a cancelled one."""
        job = _Job(call)
        with self._lock:
            if self._closed:
                job.drop()
                return job.reply
            if len(self._threads) < self._num_threads:
                thread = _Thread(target=self._work, name=self._name, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._jobs.put(job)
        return job.reply

    def close(self) -> None:
        """Cancels the calls that have not begun; does not wait for those that have."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._closed:
                job.drop()
            else:
                job.run()
            del job  # and with it the reply
