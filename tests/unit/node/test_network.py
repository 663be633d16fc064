"""Asking a coordinator what it is."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from coordinator.protocol.session import NETWORK_PATH, Network
from node.presence.line import CoordinatorUnreachable
from node.presence.network import Heard, NoCoordinator, ask_network

GOLDEN = Path(__file__).parents[2] / "golden" / "wire" / "network.json"


async def ask(answer: httpx.Response | Exception) -> Heard:
    def handle(request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("GET", "https://relay.example.org/at" + NETWORK_PATH)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return await ask_network("https://relay.example.org/at/", httpx.MockTransport(handle), timedelta(seconds=1))


async def test_what_it_says_is_read() -> None:
    heard = await ask(httpx.Response(200, content=GOLDEN.read_bytes()))
    assert heard.network == Network.model_validate_json(GOLDEN.read_text())
    assert 0 <= heard.round_trip < 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(404, text="no such page"), "/v2/node/network answers with status 404"),
        (httpx.Response(503, json={"error": {"code": "X", "message": "Wait."}}), "status 503 Wait."),
        (httpx.Response(200, text="<html>"), "does not answer as a coordinator"),
        (httpx.Response(200, json={"chain_id": 1}), "does not answer as a coordinator"),
    ],
)
async def test_what_is_no_coordinator(answer: httpx.Response, words: str) -> None:
    with pytest.raises(NoCoordinator, match=re.escape(words)):
        await ask(answer)


async def test_nobody_there() -> None:
    with pytest.raises(CoordinatorUnreachable, match="refused"):
        await ask(httpx.ConnectError("connection refused"))
