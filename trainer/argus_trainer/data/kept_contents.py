"""Bytes of objects that several chunks ask for: the newest ones stay, within a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from argus_contract.plan import PinnedObject
from argus_trainer.storage.store import ReadOnly


class KeptContents:
    """The newest objects that were read, by key and version. Any thread may use it.

    Who asks for one that is on its way waits for it, so each is read once as long as it stays.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._replies: OrderedDict[tuple[str, str, int], Future[ReadOnly]] = OrderedDict()
        """By key, ETag and size."""
        self._lock = threading.Lock()

    def has_room_for(self, pinned: PinnedObject) -> bool:
        """Whether the object could stay."""
        return pinned.size <= self._max_bytes

    def get(self, pinned: PinnedObject, read: Callable[[PinnedObject], ReadOnly]) -> ReadOnly:
        """Returns the object's bytes, from `read` when they are not here; raises what it raises."""
        name = (pinned.key, pinned.etag, pinned.size)
        with self._lock:
            reply = self._replies.get(name)
            if reply:
                self._replies.move_to_end(name)
            else:
                mine = self._replies[name] = Future[ReadOnly]()
                self._bytes += pinned.size
                while self._bytes > self._max_bytes:
                    self._drop(next(iter(self._replies)))
        if reply:
            return reply.result()
        try:
            mine.set_result(read(pinned))
        except BaseException as error:
            with self._lock:
                if self._replies.get(name) is mine:
                    self._drop(name)
            mine.set_exception(error)
        return mine.result()

    def _drop(self, name: tuple[str, str, int]) -> None:
        del self._replies[name]
        self._bytes -= name[2]
