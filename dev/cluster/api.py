"""Questions to the servers of the cluster: is a part healthy, is the node ready."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import cast

from .addresses import addresses_of
from .places import NODE_NAME, Places

NUM_SECONDS_TO_ANSWER = 3.0


def answers(url: str, places: Places) -> bool:
    """Whether a GET, made with the certificate of the administrator, is answered with 200."""
    return _get(url, places) is not None


def node_is_ready(places: Places) -> bool:
    """Whether the kubelet has reported that this node can run pods."""
    body = _get(f"{addresses_of(places).api_server}/api/v1/nodes/{NODE_NAME}", places)
    if body is None:
        return False
    node = cast("dict[str, dict[str, list[dict[str, str]]]]", json.loads(body))
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def default_account_exists(places: Places) -> bool:
    """Pods need the account and the CA bundle that the controllers make in `default`."""
    namespace = f"{addresses_of(places).api_server}/api/v1/namespaces/default"
    account = f"{namespace}/serviceaccounts/default"
    return answers(account, places) and answers(f"{namespace}/configmaps/kube-root-ca.crt", places)


def _get(url: str, places: Places) -> bytes | None:
    context: ssl.SSLContext | None = None
    if url.startswith("https:"):
        certificates = places.certificates
        context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
        context.load_cert_chain(certificates / "admin.crt", certificates / "admin.key")
    # No proxy of the environment stands between this machine and itself.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(
            url, timeout=NUM_SECONDS_TO_ANSWER
        ) as answer:
            return cast("bytes", answer.read())
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return None
