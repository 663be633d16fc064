"""An OpenAI-compatible model server that answers what it is told to, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def completion(content: str | None = "Hello!", **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage, **fields}


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """A frame of a streamed chat completion; without a delta, the one that holds the counts."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": choices, **fields}


def chunks(*texts: str, **fields: Any) -> list[dict[str, Any]]:
    """A whole stream, as vLLM sends it."""
    usage = {"prompt_tokens": 7, "completion_tokens": len(texts), "total_tokens": 7 + len(texts)}
    begin, end = chunk({"role": "assistant", "content": ""}, **fields), chunk({}, "stop", **fields)
    return [begin, *(chunk({"content": text}, **fields) for text in texts), end, chunk(usage=usage, **fields)]


def sse(frames: list[Any], *, done: bool = True) -> bytes:
    told = [frame if isinstance(frame, bytes) else json.dumps(frame).encode() for frame in frames]
    return b"".join(b"data: " + frame + b"\n\n" for frame in (*told, *([b"[DONE]"] if done else [])))


class BackendHttp:
    """`requests`: the bodies that came. `answers`: taken one a request, then `body` with status 200 again and again."""

    def __init__(self, body: bytes | None = None, owner: str = "vllm") -> None:
        self.body = body if body is not None else json.dumps(completion()).encode()
        self.owner = owner
        self.answers: list[Answer] = []
        self.requests: list[bytes] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.busy = self.most_busy = 0
        self.broken_off = 0
        # requests wait here until it is set
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open.set()
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=64 * 2**20)
        for path in ("chat/completions", "completions", "embeddings"):
            app.router.add_post(f"/v1/{path}", self._complete)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def answer(self, status: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def say(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=raw, content_type="application/json")

        self.answers.append(say)

    def stream(self, *parts: bytes | asyncio.Event, hang: bool = False) -> None:
        """Answers with these bytes, one write each, waiting for each Event; then ends, or says nothing more."""

        async def say(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
            await response.prepare(request)
            self.busy += 1
            try:
                for part in parts:
                    if isinstance(part, asyncio.Event):
                        await part.wait()
                    else:
                        await response.write(part)
                if hang:
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.broken_off += 1
                raise
            finally:
                self.busy -= 1
            return response

        self.answers.append(say)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m", "owned_by": self.owner}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.read())
        self.paths.append(request.path)
        self.headers.append(dict(request.headers))
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        finally:
            self.busy -= 1
        if self.answers:
            return await self.answers.pop(0)(request)
        return web.Response(body=self.body, content_type="application/json")
