"""What the coordinator tells anybody of itself: chain, registries, who may join. For commands before a node's start."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

import httpx
from pydantic import ValidationError

from coordinator.protocol.session import NETWORK_PATH, Network
from node.presence.line import CoordinatorUnreachable, Reply


class NoCoordinator(Exception):
    """Something answers, but not as a coordinator of this version does."""


@dataclass(frozen=True, slots=True)
class Heard:
    """`round_trip`: seconds from question to answer."""

    network: Network
    round_trip: float


async def ask_network(base_url: str, transport: httpx.AsyncBaseTransport, timeout: timedelta) -> Heard:
    """Raises CoordinatorUnreachable, and NoCoordinator with words for the operator."""
    seconds, started = timeout.total_seconds(), time.monotonic()
    limits = {name: seconds for name in ("connect", "read", "write", "pool")}
    url = httpx.URL(base_url.rstrip("/") + NETWORK_PATH)
    try:
        response = await transport.handle_async_request(httpx.Request("GET", url, extensions={"timeout": limits}))
        reply = Reply(response.status_code, await response.aread())
    except httpx.TransportError as error:
        raise CoordinatorUnreachable(str(error)) from error
    round_trip = time.monotonic() - started
    if not reply.ok:
        raise NoCoordinator(f"{url} answers with status {reply.status} {reply.message}".rstrip())
    try:
        return Heard(Network.model_validate_json(reply.body), round_trip)
    except ValidationError:
        raise NoCoordinator(f"{url} does not answer as a coordinator of this version does") from None
