"""Trainers that want to hurt whoever asks them: what each answers, byte by byte."""

import asyncio
import gzip
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from argus_contract.names import PROGRESS_PATH, PROGRESS_PORT
from stage.talking_trainers import listener

GIB = 2**30
Send = Callable[[bytes], Awaitable[None]]
Answer = Callable[[Send], Awaitable[None]]
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_DRIP_SECONDS = 0.2


class Crowd:
    """One server for all simulated pods; each answers in its own way."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        """By the pod's address; may be changed at any time."""
        self.asked: Counter[str] = Counter()
        """How often each address was asked."""
        self.sent: Counter[str] = Counter()
        """How many bytes each address got rid of."""

    @contextmanager
    def listening(self) -> Iterator["Crowd"]:
        """Answers until the end, in a thread of its own."""
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=[self._listen(stop)])
        thread.start()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    async def _listen(self, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._serve, sock=listener())
        await stop.wait()
        server.close()
        talking = asyncio.all_tasks() - {asyncio.current_task()}
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        await asyncio.sleep(0)  # for what aborted connections still have to tell

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]

        async def send(text: bytes) -> None:
            writer.write(text)
            await writer.drain()
            self.sent[address] += len(text)

        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked[address] += 1
            if answer := self.answers.get(address):
                await answer(send)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked has had enough
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()


def says(text: str) -> Answer:
    """A whole and punctual answer."""
    body = text.encode()

    async def answer(send: Send) -> None:
        await send(_OK + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)

    return answer


async def endless(send: Send) -> None:
    """A body of 1 GiB, in chunks."""
    await send(_OK + b"Transfer-Encoding: chunked\r\n\r\n")
    part = b" " * 2**16
    for _ in range(GIB // len(part)):
        await send(b"%x\r\n%s\r\n" % (len(part), part))


async def announced(send: Send) -> None:
    """A body of 1 GiB, which says so at once."""
    await send(_OK + b"Content-Length: %d\r\n\r\n" % GIB)
    for _ in range(GIB // 2**16):
        await send(b" " * 2**16)


async def bomb(send: Send) -> None:
    """60 KB that are 60 MB once somebody unpacks them."""
    body = gzip.compress(b" " * 60_000_000)
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    await send(_OK + head + body)


async def endless_head(send: Send) -> None:
    """Headers without an end."""
    await send(b"HTTP/1.1 200 OK\r\n")
    for number in range(GIB // 100):
        await send(b"X-%d: %s\r\n" % (number, b"x" * 90))


async def slow_head(send: Send) -> None:
    """A header, letter by letter."""
    await send(b"HTTP/1.1 200 OK\r\nX-Patience: ")
    while True:
        await send(b"x")
        await asyncio.sleep(_DRIP_SECONDS)


async def slow_body(send: Send) -> None:
    """A body, letter by letter."""
    await send(_OK + b"Content-Length: 60000\r\n\r\n")
    while True:
        await send(b" ")
        await asyncio.sleep(_DRIP_SECONDS)


async def silent(send: Send) -> None:
    """Takes the question and keeps it."""
    await asyncio.sleep(3600)


def late(text: str, seconds: float) -> Answer:
    """A whole answer, just before the asker's patience is over."""
    punctual = says(text)

    async def answer(send: Send) -> None:
        await asyncio.sleep(seconds)
        await punctual(send)

    return answer


def redirects_to(address: str) -> Answer:
    """Somebody else would answer."""

    async def answer(send: Send) -> None:
        place = f"http://{address}:{PROGRESS_PORT}{PROGRESS_PATH}"
        head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
        await send(head.encode())

    return answer
