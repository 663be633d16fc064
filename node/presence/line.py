"""Signed HTTP to the coordinator, shared by presence and results.

A transport of httpx without its client: no redirects, cookies or authentication flows are wanted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import httpx
import orjson

from coordinator.protocol.signing import audience, sign_request
from node.identity import Identity
from node.presence.wire import WireTransport

# uvicorn closes an idle connection after 5 s: let go of it before it does.
_KEEP_ALIVE_SECONDS = 4.0
_CONNECT_SECONDS = 5.0

Transport = httpx.AsyncBaseTransport


class CoordinatorUnreachable(Exception):
    """No answer came. The message holds no secret."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the coordinator, of whatever status."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return self.status == HTTPStatus.OK

    @property
    def code(self) -> str:
        """The error's code, or "" when there is none."""
        return self._error().get("code", "")

    @property
    def message(self) -> str:
        return self._error().get("message", "")[:500]

    def _error(self) -> dict[str, str]:
        try:
            error = orjson.loads(self.body)["error"]
            return {key: str(error[key]) for key in ("code", "message") if key in error}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return {}


class Line(Protocol):
    """Port: a signed POST. `path` is one of `protocol.session`'s."""

    async def post(self, path: str, body: bytes, timeout: timedelta) -> Reply:
        """Raises CoordinatorUnreachable when no answer comes within `timeout`."""


class SignedLine:
    """`base_url` may have a path of its own, which a reverse proxy takes off: it is not part of what is signed."""

    def __init__(self, base_url: str, identity: Identity, transport: httpx.AsyncBaseTransport) -> None:
        self._base_url = base_url.rstrip("/")
        self._identity, self._audience = identity, audience(base_url)
        self._transport = transport
        self._urls: dict[str, httpx.URL] = {}

    async def post(self, path: str, body: bytes, timeout: timedelta) -> Reply:
        seconds = timeout.total_seconds()
        limits = {"connect": min(seconds, _CONNECT_SECONDS), "read": seconds, "write": seconds, "pool": seconds}
        headers = sign_request(self._identity.key, "POST", path, body, self._audience)
        headers["content-type"] = "application/json"
        request = httpx.Request("POST", self._url(path), content=body, headers=headers, extensions={"timeout": limits})
        try:
            response = await self._transport.handle_async_request(request)
            try:
                return Reply(response.status_code, await response.aread())
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise CoordinatorUnreachable(str(error)) from error

    async def close(self) -> None:
        await self._transport.aclose()

    def _url(self, path: str) -> httpx.URL:
        if path not in self._urls:
            self._urls[path] = httpx.URL(self._base_url + path)
        return self._urls[path]


def line_transport(posts_at_once: int, ca_file: Path | None = None) -> httpx.AsyncBaseTransport:
    """Connections for that many posts at once, kept alive between them. `ca_file`: more certificates to trust, PEM."""
    return WireTransport(posts_at_once, _KEEP_ALIVE_SECONDS, ca_file)
