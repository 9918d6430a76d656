"""Between a client and the API server: a proxy that fails, by a seed.

A well-kept proxy for this does not exist: toxiproxy breaks connections and knows nothing of
requests and watch events. Requests come in as plain HTTP and go out with the server's certificate
checked and the client's own token.
"""

import asyncio
import json
import random
import socket
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from stage.control_plane import ControlPlane

SHARE = 0.05
"""Of requests, or of watch events, that each fault meets."""
SILENT_SECONDS = 6.0
"""For which a request without an answer stands, before the connection breaks."""
REQUEST_FAULTS = ("429", "500", "silent", "dropped", "reply lost")
EVENT_FAULTS = ("410", "cut", "duplicated", "reordered", "missing")
_HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "accept-encoding"}


@dataclass
class BadNetwork:
    """One proxy; `address` is what a kubeconfig gets as server."""

    plane: ControlPlane
    seed: int
    share: float = SHARE
    met: Counter[str] = field(default_factory=Counter)
    """How often each fault happened."""
    writes: list[str] = field(default_factory=list)
    """Method and path of what was asked for beside reading and Leases, oldest first."""
    at_write: Callable[[str], None] = lambda _: None
    """Called in the proxy's thread for each of these, before the API server has it."""
    address: str = ""
    _spoilt: list[str] = field(default_factory=list)
    """What befell all watches that stood at a time, oldest first."""

    def spoil_watches(self, fault: str) -> None:
        """Lets each watch that stands now be silent from its next event on, or tell of a "500"."""
        self._spoilt.append(fault)

    @contextmanager
    def running(self) -> Iterator["BadNetwork"]:
        ready = threading.Event()

        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            # Without a certificate of the administrator's: the client's token says who asks.
            context = ssl.create_default_context(cafile=str(self.plane.places.authority))
            async with aiohttp.ClientSession() as session:
                self._dice, self._session, self._tls = random.Random(self.seed), session, context
                app = web.Application(client_max_size=2**24)
                app.router.add_route("*", "/{path:.*}", self._answer)
                runner = web.AppRunner(
                    app, access_log=None, handle_signals=False, shutdown_timeout=0.5
                )
                await runner.setup()
                listening = socket.create_server(("127.0.0.1", 0))
                await web.SockSite(runner, listening).start()
                self.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
                ready.set()
                await self._stop.wait()
                await runner.cleanup()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        ready.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    def _fault(self, kinds: tuple[str, ...]) -> str | None:
        """Returns one of these faults, each with the same share, or None."""
        place = int(self._dice.random() / self.share) if self.share else len(kinds)
        if place >= len(kinds):
            return None
        self.met[kinds[place]] += 1
        return kinds[place]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD") and "/leases" not in request.path:
            self.writes.append(f"{request.method} {request.path}")
            self.at_write(self.writes[-1])
        fault = self._fault(REQUEST_FAULTS)
        if fault in ("429", "500"):
            return _refusal(int(fault))
        if fault == "silent":
            await asyncio.sleep(SILENT_SECONDS)
        if fault in ("silent", "dropped"):
            return _drop(request)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        addresses = self.plane.addresses
        try:
            async with self._session.request(
                request.method,
                f"{addresses.api_server}{request.raw_path}",
                headers={**headers, "Accept-Encoding": "identity"},
                data=await request.read() or None,
                skip_auto_headers=["Content-Type"],
                ssl=self._tls,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as reply:
                if fault == "reply lost":
                    await reply.read()
                    return _drop(request)
                if request.query.get("watch") in ("true", "1"):
                    return await self._stream(request, reply)
                return web.Response(
                    status=reply.status, body=await reply.read(), content_type=reply.content_type
                )
        except (aiohttp.ClientError, ConnectionError):
            return _drop(request)

    async def _stream(
        self, request: web.Request, reply: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status)
        response.content_type = reply.content_type
        await response.prepare(request)
        async for line in self._events(reply):
            await response.write(line)
        return _drop(request, response)

    async def _events(self, reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        held = b""
        rest = b""
        before = len(self._spoilt)
        async for chunk in reply.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in (line + b"\n" for line in lines):
                spoilt = self._spoilt[before:]
                if "500" in spoilt:
                    yield _error(500, "InternalError")
                    return
                if spoilt:
                    continue
                fault = self._fault(EVENT_FAULTS)
                if fault == "410":
                    yield _error(410, "Expired")
                if fault in ("410", "cut"):
                    return
                if fault == "reordered" and not held:
                    held = line
                    continue
                if fault != "missing":
                    yield line
                if fault == "duplicated":
                    yield line
                yield held
                held = b""


def _refusal(status: int) -> web.Response:
    reason = {429: "TooManyRequests", 500: "InternalError"}[status]
    body = {"kind": "Status", "status": "Failure", "reason": reason, "code": status}
    headers = {"Retry-After": "1"} if status == 429 else {}
    return web.json_response({"apiVersion": "v1", **body}, status=status, headers=headers)


def _error(code: int, reason: str) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


def _drop(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    if request.transport:
        request.transport.abort()
    return response or web.Response(status=502)
