"""The bucket of the S3 server, asked for with a signed request, which proves the keys as well.

Signature version 4 for a request without body and query: the little of it that needs no SDK.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from dataclasses import dataclass
from typing import cast

from .places import HOST_ADDRESS, S3_BUCKET, S3_PORT, S3_REGION, Places

NUM_SECONDS_TO_ANSWER = 5.0


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What a client needs to be let in."""

    access: str
    secret: str


def read_keys(places: Places) -> Keys:
    document = cast(
        "dict[str, list[dict[str, list[dict[str, str]]]]]", json.loads(places.s3_keys.read_text())
    )
    pair = document["identities"][0]["credentials"][0]
    return Keys(access=pair["accessKey"], secret=pair["secretKey"])


def bucket_is_there(places: Places) -> bool:
    """Whether the server answers these keys; makes the bucket if it is not there yet."""
    keys = read_keys(places)
    return _request("HEAD", keys) == 200 or _request("PUT", keys) == 200


def _request(method: str, keys: Keys) -> int | None:
    """The status of a bucket request; None when the server does not answer."""
    path = f"/{S3_BUCKET}"
    connection = http.client.HTTPConnection(HOST_ADDRESS, S3_PORT, timeout=NUM_SECONDS_TO_ANSWER)
    try:
        connection.request(method, path, headers=_signed(method, path, keys))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _signed(method: str, path: str, keys: Keys) -> dict[str, str]:
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    nothing = hashlib.sha256(b"").hexdigest()
    headers = {
        "host": f"{HOST_ADDRESS}:{S3_PORT}",
        "x-amz-content-sha256": nothing,
        "x-amz-date": now,
    }
    names = ";".join(headers)
    lines = [f"{name}:{value}" for name, value in headers.items()]
    canonical = "\n".join([method, path, "", *lines, "", names, nothing])
    scope = f"{now[:8]}/{S3_REGION}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{keys.secret}".encode()
    for element in scope.split("/"):
        key = hmac.digest(key, element.encode(), "sha256")
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, digest])
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    credential = f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}"
    headers["Authorization"] = f"{credential}, SignedHeaders={names}, Signature={signature}"
    return headers
