"""An OpenAI-compatible server on aiohttp that does what a test tells it to, and remembers what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

Script = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "own-name",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
# Oddly spaced, so that a test sees whether anybody serialised it anew.
ANSWER = orjson.dumps(COMPLETION, option=orjson.OPT_INDENT_2)


def chunk(text: str) -> bytes:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "own-name",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }
    return b"data: " + orjson.dumps(body) + b"\n\n"


def usage_chunk() -> bytes:
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "own-name", "choices": []}
    return b"data: " + orjson.dumps(body | {"usage": COMPLETION["usage"]}) + b"\n\n"


DONE = b"data: [DONE]\n\n"


@dataclass
class FakeUpstream:
    """`script` answers; the default completes or streams. `cancelled` is set when a caller hangs up."""

    script: Script | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""
    owned_by: str = "fake"
    asked_for_models: int = 0

    async def models(self, request: web.Request) -> web.Response:
        self.asked_for_models += 1
        return web.json_response({"object": "list", "data": [{"id": "own-name", "owned_by": self.owned_by}]})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        try:
            return await (self.script or complete_or_stream)(request, body)
        except (asyncio.CancelledError, ConnectionResetError):
            self.cancelled.set()
            raise

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeUpstream]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self.handle)
        app.router.add_get("/v1/models", self.models)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()


async def complete_or_stream(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if not body.get("stream"):
        return web.Response(body=ANSWER, content_type="application/json")
    frames = [chunk("Hel"), chunk("lo.")]
    if (body.get("stream_options") or {}).get("include_usage"):
        frames.append(usage_chunk())
    return await streamed(request, [*frames, DONE])


async def streamed(request: web.Request, frames: list[bytes]) -> web.StreamResponse:
    response = await opened_stream(request)
    for frame in frames:
        await response.write(frame)
    await response.write_eof()
    return response


async def opened_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


def hang_up(request: web.Request) -> None:
    """The upstream dies: the connection is gone without a word."""
    assert request.transport is not None
    request.transport.abort()


def answering(status: int, body: Any, headers: dict[str, str] | None = None) -> Script:
    async def script(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return script


async def never(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Takes the request and says nothing."""
    await asyncio.Event().wait()
    raise AssertionError
