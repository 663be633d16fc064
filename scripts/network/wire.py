"""HTTP to our own children on the loopback, by the standard library: no proxy of the environment gets in between."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit


class Refused(Exception):
    """The other side answered, but not with what was asked for. `status` is 0 for an error inside JSON-RPC."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:500]}" if status else body[:500])
        self.status = status
        self.body = body


def call(url: str, body: object | None = None, *, headers: dict[str, str] | None = None, timeout: float = 60.0) -> Any:
    """GET, or POST of `body` as JSON; the parsed JSON of a 2xx. Raises Refused, or OSError when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        content = None if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json", **(headers or {})}
        connection.request("GET" if body is None else "POST", target or "/", body=content, headers=sent)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise ConnectionError(f"no whole answer from {url}: {error!r}") from error
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        raise Refused(response.status, text)
    return json.loads(text) if text else None


def rpc(url: str, method: str, *params: object, timeout: float = 60.0) -> Any:
    """One JSON-RPC call to the chain. Raises Refused with the client's own words, or OSError."""
    answer = call(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, timeout=timeout)
    if "error" in answer:
        raise Refused(0, str(answer["error"].get("message", answer["error"])))
    return answer["result"]
