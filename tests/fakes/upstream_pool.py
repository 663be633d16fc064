"""Pools over fake upstreams."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from coordinator.catalogue import Upstream
from coordinator.upstream.pool import UpstreamPool
from tests.fakes.upstream import FakeUpstream, Script, hang_up

REQUEST = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello!"}]})
STREAM = orjson.dumps(orjson.loads(REQUEST) | {"stream": True})


def upstream(base_url: str, name: str = "one", **settings: Any) -> Upstream:
    own = settings.pop("own", "m")
    told = {"name": name, "base_url": base_url, "models": {"m": own}, "server": "plain"} | settings
    return Upstream.model_validate({key: value for key, value in told.items() if value is not None})


@asynccontextmanager
async def pool_of(*scripts: Script | None, **settings: Any) -> AsyncIterator[tuple[UpstreamPool, list[FakeUpstream]]]:
    """A pool of as many upstreams as there are scripts; None answers as it should."""
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeUpstream(script).serving()) for script in scripts]
        pool = UpstreamPool([upstream(fake.base_url, f"u{i}", **settings) for i, fake in enumerate(fakes)])
        stack.push_async_callback(pool.close)
        yield pool, fakes


def nobody_there() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}/v1"


async def dying(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    hang_up(request)
    return web.Response()


async def frames_of(pool: UpstreamPool) -> bytes:
    stream = await pool.stream("m", STREAM)
    try:
        return b"".join([frames async for frames in stream])
    finally:
        await stream.aclose()
