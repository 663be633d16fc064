"""The API on a real server and a real socket; behind it a real pool and an upstream that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
import uvicorn
from openai import AsyncOpenAI

from coordinator.api.app import create_app
from coordinator.api.chat import ChatLimits
from coordinator.catalogue import parse
from coordinator.upstream.pool import UpstreamPool
from tests.fakes.relay import GOOD_KEY, FakeClaims, FakeKeyBook, FakeRelay
from tests.fakes.upstream import FakeUpstream

MODEL = "relay/tiny-chat"
LIMITS = ChatLimits(quiet=timedelta(seconds=0.2))
CHAT = "/v2/openai/v1/chat/completions"
_PRICE = {"per_1m_input_tokens": "0.01", "per_1m_output_tokens": "0.02"}


@dataclass
class Served:
    base: str
    relay: FakeRelay
    upstream: FakeUpstream
    server: uvicorn.Server
    keys: FakeKeyBook

    async def lifted(self) -> float:
        """Lifts `keys.refusal` once it has been told; when that was (time.monotonic)."""
        async with asyncio.timeout(30):
            while not self.keys.refused_at:
                await asyncio.sleep(0.005)
        self.keys.refusal = None
        return self.keys.refused_at[0]

    def client(self, api_key: str = GOOD_KEY, max_retries: int = 0) -> AsyncOpenAI:
        return AsyncOpenAI(api_key=api_key, base_url=f"{self.base}/v2/openai/v1", max_retries=max_retries)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    relay = FakeRelay()
    async with FakeUpstream().serving() as upstream:
        model = {
            "name": MODEL,
            "modes": ["opengpu", "direct"],
            "endpoints": ["chat", "completions", "embeddings"],
            "prices": {"opengpu": _PRICE, "direct": _PRICE},
        }
        one = {"name": "one", "base_url": upstream.base_url, "models": {MODEL: "own-name"}}
        catalogue = parse({"models": [model], "upstreams": [one]}, {})
        pool = UpstreamPool(catalogue.upstreams)
        keys = FakeKeyBook()
        app = create_app(relay, keys, FakeClaims(), catalogue, pool, version="1", commit="c", limits=LIMITS)
        # uvicorn opens the port itself, as in production: asyncio sets TCP_NODELAY on no socket that was handed in
        settings = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(settings)
        serving = asyncio.create_task(server.serve())
        async with asyncio.timeout(60):
            while not server.started:
                await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", relay, upstream, server, keys)
        server.should_exit = True
        await serving
        await pool.close()
