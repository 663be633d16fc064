"""What can be asked without signing in: one's own standing with the coordinator, and an RPC endpoint."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
from pydantic import ValidationError

from coordinator.protocol.session import STANDING_PATH, Standing, StandingRequest
from node.presence.line import CoordinatorUnreachable, Line

_TIMEOUT = timedelta(seconds=10)
_CONNECT_SECONDS = 5.0


class NoAnswer(Exception):
    """Nobody there, or somebody else; `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def ask_standing(line: Line) -> Standing:
    """Raises NoAnswer."""
    try:
        reply = await line.post(STANDING_PATH, StandingRequest().model_dump_json().encode(), _TIMEOUT)
    except CoordinatorUnreachable as error:
        raise NoAnswer(f"it can't be reached ({error})") from error
    if not reply.ok:
        raise NoAnswer(f"{reply.code}: {reply.message}" if reply.code else f"it answers HTTP {reply.status}")
    try:
        return Standing.model_validate_json(reply.body)
    except ValidationError:
        raise NoAnswer("it answers, but not as this version's coordinator does") from None


async def ask_rpc(transport: httpx.AsyncBaseTransport, url: str, method: str, *parameters: object) -> Any:
    """One JSON-RPC call. Raises NoAnswer."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    request = httpx.Request(
        "POST", url, content=json.dumps(asked).encode(), headers={"content-type": "application/json"}
    )
    try:
        return json.loads(await _fetch(transport, request))["result"]
    except (ValueError, KeyError, TypeError):
        raise NoAnswer("it does not speak Ethereum's JSON-RPC") from None


async def _fetch(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> bytes:
    seconds = _TIMEOUT.total_seconds()
    request.extensions["timeout"] = {
        "connect": _CONNECT_SECONDS,
        "read": seconds,
        "write": seconds,
        "pool": seconds,
    }
    try:
        response = await transport.handle_async_request(request)
        body = await response.aread()
    except httpx.TransportError as error:
        raise NoAnswer(f"it can't be reached ({error})") from error
    if response.status_code != httpx.codes.OK:
        raise NoAnswer(f"it answers HTTP {response.status_code}")
    return body
