"""A request whose head has no end: cut off, whoever sends it, while everybody else is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.api.heads import MOST_HEAD_BYTES
from tests.parts.coordinator import SmallNetwork

HEALTH = b"GET /v2/health HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v2/node/challenge HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
ENOUGH = 8 * 1024 * 1024  # far above the bound, and what sockets hold back
PATIENCE_S = 30.0


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[SmallNetwork]:
    async with SmallNetwork(tmp_path) as network:
        yield network


async def is_cut_off(network: SmallNetwork, start: bytes, more: bytes) -> bool:
    host, _, port = network.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(start)
            for _ in range(ENOUGH // len(more)):
                writer.write(more)
                await writer.drain()
            await reader.read()  # returns at the connection's end
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    finally:
        writer.close()
    return True


ENDLESS = {
    "header": (HEALTH + b"X-Long: ", b"a" * 65536),
    "headers": (HEALTH, b"a: b\r\n" * 10_000),
    "url": (b"GET /", b"a" * 65536),
    "trailers": (POST + b"1\r\nx\r\n0\r\n", b"a: b\r\n" * 10_000),
    "extension": (POST + b"5;", b"a" * 65536),
}


async def test_what_has_no_end_is_cut_off(network: SmallNetwork) -> None:
    cut = {name: await is_cut_off(network, *parts) for name, parts in ENDLESS.items()}
    assert cut == dict.fromkeys(ENDLESS, True)
    assert (await network.http.get("/v2/health")).status_code == 200


async def test_a_long_head_and_a_long_body_are_heard(network: SmallNetwork) -> None:
    long = {"x-long": "a" * (MOST_HEAD_BYTES // 2)}
    assert (await network.http.get("/v2/health", headers=long)).status_code == 200

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 65536

    reply = await network.http.post("/v2/openai/v1/chat/completions", content=pieces(), headers=long)
    assert reply.status_code == 422
