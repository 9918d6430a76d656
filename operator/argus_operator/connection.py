"""A connection to one API server: requests, lists by pages, watches.

Plain JSON over the client's own connection pool, without its generated models.
"""

import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple, Self, TypeVar

import aiohttp
from kubernetes.aio import client, config

from argus_contract import names
from argus_operator.errors import ApiError, ApiUnreachable, NotLeading, api_error
from argus_operator.reading import Raw

CHUNK = 200
"""Objects in one page of a list, which is in memory as a whole."""
TIMEOUT_SECONDS = 20
WATCH_SECONDS = 300
"""The API server ends a watch after this to twice this, so that not all begin anew at once."""
SILENCE_SECONDS = 90
"""A watch without a word for so long ends as well: its connection may be dead, and nobody tells. In
a cluster where anything of the kind changes there is a bookmark about every minute."""


class WatchEvent(NamedTuple):
    """A change that a watch tells of."""

    type: str
    """ADDED, MODIFIED, DELETED, or BOOKMARK: nothing changed up to this version."""
    object: Raw
    version: int


Read = TypeVar("Read")


class Connection:
    """Methods raise errors of `errors.py`."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._may_write_for: Callable[[], float] = lambda: TIMEOUT_SECONDS

    @classmethod
    async def connect(cls, kubeconfig: str | None) -> Self:
        """Connects by a kubeconfig file, or by the pod's service account if None."""
        settings = client.Configuration()
        if kubeconfig:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, client_configuration=settings
            )
        else:
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=settings
            )
        # No bound: watches keep theirs, and others are as many as there is work at a time.
        settings.connection_pool_maxsize = 0
        # As kopf's own requests: else each one looks for a ~/.netrc, in a thread.
        settings.client_session_kwargs = {"trust_env": False}
        api = client.ApiClient(configuration=settings)
        # Also the name of who wrote what, in managedFields.
        api.user_agent = names.FIELD_MANAGER
        return cls(api)

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._api.configuration.host)

    def fence(self, may_write_for: Callable[[], float]) -> None:
        """From now on writes are made, and waited for, only while this returns seconds above 0."""
        self._may_write_for = may_write_for

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def _list(
        self, path: str, read: Callable[[Raw], Read], **query: str
    ) -> tuple[list[Read], int]:
        """Reads a list page by page; returns what was read and the version of the list."""
        found: list[Read] = []
        newest = 0
        async for page, version in self._pages(path, query):
            found += map(read, page)
            newest = version
        return found, newest

    async def _pages(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncIterator[tuple[list[Any], int]]:
        """Yields the objects of each page of a list, and the version of the list."""
        more = ""
        while True:
            asked = {**query, "limit": str(CHUNK), "continue": more}
            page = await self._request("GET", path, query=asked)
            yield page.get("items") or [], int(page["metadata"]["resourceVersion"])
            more = page["metadata"].get("continue") or ""
            if not more:
                return

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        query: Mapping[str, str] | None = None,
        patience: float | None = None,
    ) -> Any:
        if patience is None:
            patience = TIMEOUT_SECONDS
            if method != "GET":
                patience = min(patience, self._may_write_for())
                if patience <= 0:
                    raise NotLeading(f"{method} {path} was not sent: the lease is not held")
        with _reaching(f"{method} {path}"):
            headers = {"Accept": accept, "Content-Type": content_type}
            response = await self._send(method, path, headers, query or {}, body, patience)
            text = await response.read()
        answer = _parse(text)
        if not 200 <= response.status <= 299:
            raise _refusal(response, answer, text)
        if not answer:
            raise ApiUnreachable(f"{method} {path}: {text[:200]!r} is no answer of an API server")
        return answer

    async def _watch(self, path: str, version: int, **query: str) -> AsyncIterator[WatchEvent]:
        """Yields what changes after this version, until the watch is over or silent."""
        asked = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(version),
            "timeoutSeconds": str(random.randint(WATCH_SECONDS, 2 * WATCH_SECONDS)),
        }
        patience = aiohttp.ClientTimeout(
            total=None, sock_connect=TIMEOUT_SECONDS, sock_read=SILENCE_SECONDS
        )
        with _reaching(f"watch {path}"):
            headers = {"Accept": "application/json"}
            response = await self._send("GET", path, headers, asked, None, patience)
            # Closed, not given back to the pool: more may come.
            with closing(response):
                if response.status != 200:
                    text = await response.read()
                    raise _refusal(response, _parse(text), text)
                rest = b""
                with suppress(aiohttp.ServerTimeoutError):
                    async for data in response.content.iter_any():
                        *lines, rest = (rest + data).split(b"\n")
                        for line in lines:
                            yield _read_event(path, line)

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        patience: float | aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        method, url, sent, *_ = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=dict(headers),
            auth_settings=["BearerToken"],
        )
        # Given here, the body is taken as it is: the client does not look for its models in it.
        answer = await self._api.call_api(method, url, sent, body, _request_timeout=patience)
        response: aiohttp.ClientResponse = answer.response
        return response


@contextmanager
def _reaching(what: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ApiUnreachable(f"{what}: {error or type(error).__name__}") from error


def _refusal(response: aiohttp.ClientResponse, answer: Mapping[str, Any], text: bytes) -> ApiError:
    reason = str(answer.get("reason") or response.reason)
    return api_error(response.status, reason, str(answer.get("message") or text[:500]))


def _read_event(path: str, line: bytes) -> WatchEvent:
    """Raises what the API server says instead of an event, or ApiUnreachable for nonsense."""
    event = _parse(line)
    raw: Any = event.get("object")
    try:
        if event["type"] == "ERROR":
            raise api_error(int(raw["code"]), str(raw.get("reason")), str(raw.get("message")))
        return WatchEvent(str(event["type"]), raw, int(raw["metadata"]["resourceVersion"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ApiUnreachable(f"watch {path}: {line[:200]!r} is no event") from None


def _parse(text: bytes) -> dict[str, Any]:
    """Returns no fields for what is no JSON object: the page of a proxy, a reply cut short."""
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
