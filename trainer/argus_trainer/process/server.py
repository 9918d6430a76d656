"""GET /progress: the newest report as JSON, for the operator's poll.

A thread of the standard library's HTTP server: it reads one frozen value, so an answer never
waits for the training (beyond the interpreter lock, which torch releases in its kernels).
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from argus_contract.names import PROGRESS_PATH
from argus_contract.progress import ProgressReport
from argus_trainer.errors import ConfigurationError

SLOWEST_CLIENT_SECONDS = 10


class ProgressServer:
    """Serves until closed. Host "" is every address; port 0 takes a free one: `port`."""

    def __init__(self, newest: Callable[[], ProgressReport], *, host: str, port: int) -> None:
        class Handler(_ProgressHandler):
            report = staticmethod(newest)

        try:
            self._server = _listening(host, port, Handler)
        except OSError as error:
            raise ConfigurationError(
                f"port {port} for {PROGRESS_PATH} cannot be opened ({error.strerror}): another "
                "process in this pod's network holds it"
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="progress", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _BothFamilies(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _listening(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    if not host and socket.has_dualstack_ipv6():
        with suppress(OSError):  # a node may have IPv6 switched off
            return _BothFamilies(("::", port), handler)
    return ThreadingHTTPServer((host, port), handler)


class _ProgressHandler(BaseHTTPRequestHandler):
    report: Callable[[], ProgressReport]
    timeout = SLOWEST_CLIENT_SECONDS

    def do_GET(self) -> None:
        if self.path != PROGRESS_PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = type(self).report().model_dump_json(by_alias=True, exclude_none=True).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
        """Says nothing: a poll every few seconds is no news."""
