"""JSON-RPC as web3 sends it, over connections that stay open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientError, web
from web3 import AsyncWeb3

from contracts.endpoint import Endpoint
from tests.fakes.json_rpc import QuietChain, json_rpc


@pytest.fixture
async def w3() -> AsyncIterator[AsyncWeb3[Any]]:
    async with json_rpc(QuietChain()) as url:
        made: AsyncWeb3[Any] = AsyncWeb3(Endpoint(url, timeout=5), middleware=[])
        yield made
        await made.provider.disconnect()


@pytest.mark.parametrize("steps", range(6))
async def test_calls_that_are_taken_back_hold_up_no_other(w3: AsyncWeb3[Any], steps: int) -> None:
    """With web3's own provider every later call of the process waited for ever."""
    calls = [asyncio.ensure_future(w3.eth.chain_id) for _ in range(10)]
    for _ in range(steps):
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(30):
        assert await w3.eth.chain_id == 31337


async def test_one_connection_serves_one_call_after_the_other() -> None:
    seen: set[object] = set()

    async def answer(request: web.Request) -> web.Response:
        seen.add(request.transport)
        return web.json_response({"jsonrpc": "2.0", "id": (await request.json())["id"], "result": "0x1"})

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = Endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}", timeout=5)
    w3: AsyncWeb3[Any] = AsyncWeb3(endpoint, middleware=[])
    for _ in range(3):
        assert await w3.eth.chain_id == 1
    assert len(seen) == 1
    await endpoint.disconnect()
    assert await w3.eth.chain_id == 1, "and may be used again"
    await endpoint.disconnect()
    await runner.cleanup()


async def test_an_answer_that_is_none_is_an_error() -> None:
    async with json_rpc(lambda method: None) as url:
        endpoint = Endpoint(url, timeout=5)
        with pytest.raises(ClientError):
            await AsyncWeb3(endpoint, middleware=[]).eth.chain_id
        await endpoint.disconnect()
    waits = asyncio.Event()
    async with json_rpc(lambda method: waits) as url:
        endpoint = Endpoint(url, timeout=0.05)
        with pytest.raises(TimeoutError):
            await AsyncWeb3(endpoint, middleware=[]).eth.chain_id
        await endpoint.disconnect()
