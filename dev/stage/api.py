"""JSON requests to an API server: for tests and benchmarks that ask too often for kubectl."""

import http.client
import json
import ssl
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

TIMEOUT_SECONDS = 30.0
PATCH_TYPE = "application/merge-patch+json"

JsonObject = dict[str, Any]


class ApiRefused(Exception):
    """The API server said no."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        """The server's word, for example AlreadyExists."""
        self.message = message


class Api:
    """One connection, kept open and made anew when it broke. Not for two threads at once."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._connection = http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT_SECONDS, context=context
        )
        weakref.finalize(self, self._connection.close)

    def get(self, path: str, **query: str) -> JsonObject:
        """Returns an object or a list. Raises ApiRefused, or OSError when nobody answers."""
        return self._request("GET", path, None, query)

    def find(self, path: str) -> JsonObject | None:
        """Returns an object, or None if there is none."""
        try:
            return self.get(path)
        except ApiRefused as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str, **query: str) -> list[JsonObject]:
        """Returns all objects of a list."""
        found: list[JsonObject] = self.get(path, **query)["items"]
        return found

    def create(self, path: str, document: Mapping[str, Any], **query: str) -> JsonObject:
        """Posts an object to the path of its kind."""
        return self._request("POST", path, document, query)

    def patch(self, path: str, patch: Mapping[str, Any], **query: str) -> JsonObject:
        """Merges a patch into an object."""
        return self._request("PATCH", path, patch, query, PATCH_TYPE)

    def replace(self, path: str, document: Mapping[str, Any]) -> JsonObject:
        return self._request("PUT", path, document, {})

    def delete(self, path: str, options: Mapping[str, Any] | None = None, **query: str) -> None:
        """Deletes an object, or all of a list; what is gone already is fine."""
        with suppress(ApiRefused):
            self._request("DELETE", path, options, query)

    def _request(
        self,
        method: str,
        path: str,
        document: Mapping[str, Any] | None,
        query: Mapping[str, str],
        content_type: str = "application/json",
    ) -> JsonObject:
        body = None if document is None else json.dumps(document)
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            self._connection.request(method, target, body, {"Content-Type": content_type})
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise OSError(f"{method} {path}: {error or type(error).__name__}") from error
        answer: JsonObject = json.loads(text) if text.startswith(b"{") else {}
        if not 200 <= response.status <= 299:
            raise ApiRefused(
                response.status,
                str(answer.get("reason") or response.reason),
                str(answer.get("message") or text[:500].decode(errors="replace")),
            )
        return answer
