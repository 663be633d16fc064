"""An EVM endpoint over HTTP that answers what a test tells it to, however senseless."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

# A request's method to the whole reply, but for its id.
Answers = Callable[[str], object]


@asynccontextmanager
async def json_rpc(answers: Answers) -> AsyncIterator[str]:
    """Its address. An answer that is an Event is waited for, and never comes; None closes the connection."""

    async def reply(request: web.Request) -> web.Response:
        asked = json.loads(await request.text())
        said = answers(asked["method"])
        if isinstance(said, asyncio.Event):
            said.set()
            await asyncio.Event().wait()
        if said is None:
            assert request.transport is not None
            request.transport.abort()
        if isinstance(said, dict):
            said = {"jsonrpc": "2.0", "id": asked["id"], **said}
        return web.json_response(said)

    application = web.Application()
    application.router.add_post("/{path:.*}", reply)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class QuietChain:
    """Answers as a chain on which nothing happens. `said`: the whole reply instead, by method."""

    def __init__(self, balance: int = 10**18, **said: object) -> None:
        block = {"number": "0x1", "baseFeePerGas": hex(10**9), "hash": "0x" + "ab" * 32}
        results: dict[str, object] = {
            "eth_chainId": "0x7a69", "eth_getBalance": hex(balance), "eth_call": "0x", "eth_estimateGas": "0x5208",
            "eth_getBlockByNumber": block, "eth_maxPriorityFeePerGas": "0x1", "eth_getTransactionCount": "0x0",
            "eth_sendRawTransaction": "0x" + "cd" * 32, "eth_getTransactionReceipt": None,
        }  # fmt: skip
        self._said: dict[str, object] = {name: {"result": result} for name, result in results.items()} | said

    def __call__(self, method: str) -> object:
        return self._said[method]
