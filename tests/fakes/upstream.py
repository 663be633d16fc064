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
    paths: list[str] = field(default_factory=list)
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
        self.paths.append(request.path)
        self.headers.append(dict(request.headers))
        try:
            return await (self.script or complete_or_stream)(request, body)
        except (asyncio.CancelledError, ConnectionResetError):
            self.cancelled.set()
            raise

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeUpstream]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        for path in ("chat/completions", "completions", "embeddings"):
            app.router.add_post(f"/v1/{path}", self.handle)
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


async def as_asked(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Does what it is asked for: tools, `n`, log-probabilities, JSON, text completions, embeddings as numbers."""
    if request.path.endswith("/embeddings"):
        count = len(body["input"]) if isinstance(body["input"], list) else 1
        data = [{"object": "embedding", "index": i, "embedding": [i + 0.5, -2.0]} for i in range(count)]
        usage = {"prompt_tokens": count, "total_tokens": count}
        return web.json_response({"object": "list", "model": "own-name", "data": data, "usage": usage})
    numbers = range(body.get("n") or 1)
    if "prompt" in body:
        if body.get("stream"):
            texts = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in (" time", ".")]
            frame = {"id": "c", "object": "text_completion", "created": 1, "model": "own-name"}
            return await streamed(
                request, [b"data: " + orjson.dumps(frame | text) + b"\n\n" for text in texts] + [DONE]
            )
        logprobs = {"tokens": [" time"], "token_logprobs": [-0.1]} if body.get("logprobs") is not None else None
        texts = [{"index": i, "text": " time.", "finish_reason": "stop", "logprobs": logprobs} for i in numbers]
        return web.json_response(COMPLETION | {"object": "text_completion", "choices": texts})
    if body.get("stream") and not body.get("tools"):
        return await complete_or_stream(request, body)
    choices = [{"index": i, "finish_reason": "stop", **_choice(body)} for i in numbers]
    if body.get("stream"):
        deltas = [{"index": 0, "finish_reason": "tool_calls", "delta": _choice(body)["message"]}]
        for number, call in enumerate(deltas[0]["delta"]["tool_calls"]):
            call["index"] = number
        frame = COMPLETION | {"object": "chat.completion.chunk", "choices": deltas}
        return await streamed(request, [b"data: " + orjson.dumps(frame) + b"\n\n", DONE])
    return web.json_response(COMPLETION | {"choices": choices})


def _choice(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("tools"):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city":"Rome"}'}
        call = {"id": "call_1", "type": "function", "function": function}
        return {"message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    text = '{"answer":"Hello."}' if body.get("response_format") else "Hello."
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
    if body.get("logprobs"):
        likely = [{"token": token, "logprob": -0.1, "bytes": None} for token in ("Hello.", "Hi.")]
        entry = likely[0] | {"top_logprobs": likely[: body.get("top_logprobs") or 0]}
        choice["logprobs"] = {"content": [entry], "refusal": None}
    return choice


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
