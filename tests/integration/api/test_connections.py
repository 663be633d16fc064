"""What only a real socket shows: hang-ups, buffering, large bodies, small packets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web

from coordinator.api.streaming import KEEP_ALIVE
from tests.fakes.upstream import ANSWER, DONE, chunk, hang_up, never, opened_stream
from tests.integration.api.conftest import CHAT, MODEL, Served

PATIENCE_S = 30.0
CANCELLED_WITHIN_S = 5.0  # a few milliseconds on an idle machine
ASKED: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}


def request_bytes(body: bytes, *headers: str, path: str = CHAT) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: relay", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = served.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield reader, writer
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, ASKED),
        (CHAT, ASKED | {"stream": True}),
        ("/v2/openai/v1/completions", {"model": MODEL, "prompt": "Once", "stream": True}),
        ("/v2/openai/v1/completions", {"model": MODEL, "prompt": "Once"}),
        ("/v2/openai/v1/embeddings", {"model": MODEL, "input": "Once"}),
    ],
)
async def test_a_client_that_hangs_up_before_the_answer_cancels_the_upstream(
    served: Served, path: str, fields: dict[str, Any]
) -> None:
    served.upstream.script = never
    async with connected(served) as (_, writer):
        writer.write(request_bytes(json.dumps(fields).encode(), path=path))
        while not served.upstream.requests:
            await asyncio.sleep(0.005)
        writer.transport.abort()
        async with asyncio.timeout(CANCELLED_WITHIN_S):
            await served.upstream.cancelled.wait()
    assert served.relay.kept == []


async def test_a_client_that_hangs_up_within_a_stream_cancels_the_upstream(served: Served) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        await response.write(chunk("Hel"))
        return await never(request, body)

    served.upstream.script = script
    async with connected(served) as (reader, writer):
        writer.write(request_bytes(json.dumps(ASKED | {"stream": True}).encode()))
        await reader.readuntil(b"Hel")
        writer.close()
        async with asyncio.timeout(CANCELLED_WITHIN_S):
            await served.upstream.cancelled.wait()


async def test_a_client_that_hangs_up_leaves_its_opengpu_task_running(served: Served) -> None:
    async with connected(served) as (_, writer):
        writer.write(request_bytes(json.dumps(ASKED | {"mode": "opengpu"}).encode()))
        while not served.relay.waited:
            await asyncio.sleep(0.005)
        writer.transport.abort()
    [task_id] = served.relay.tasks
    await served.relay.end(task_id, ANSWER)
    async with httpx.AsyncClient(base_url=served.base) as client:
        assert (await client.get(f"/v2/tasks/{task_id}?wait=5")).json()["status"] == "completed"


async def test_a_frame_goes_out_while_the_upstream_holds_the_next_one_back(served: Served) -> None:
    go_on = asyncio.Event()

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        await response.write(chunk("Hel"))
        await go_on.wait()
        await response.write(chunk("lo.") + DONE)
        return response

    served.upstream.script = script
    async with connected(served) as (reader, writer):
        writer.write(request_bytes(json.dumps(ASKED | {"stream": True}).encode(), "Connection: close"))
        head = await reader.readuntil(b'"Hel"')
        assert b"lo." not in head
        go_on.set()
        assert b"data: [DONE]\n\n" in await reader.read()


async def test_a_silent_stream_shows_signs_of_life(served: Served) -> None:
    """Comments while the upstream says nothing, none between frames, and the answer whole all the same."""
    go_on = asyncio.Event()

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        await response.write(chunk("Hel"))
        await go_on.wait()
        await response.write(chunk("lo.") + DONE)
        return response

    served.upstream.script = script
    async with connected(served) as (reader, writer):
        writer.write(request_bytes(json.dumps(ASKED | {"stream": True}).encode(), "Connection: close"))
        await reader.readuntil(b'"Hel"')
        for _ in range(3):
            assert (await reader.readuntil(KEEP_ALIVE)).endswith(KEEP_ALIVE)
        go_on.set()
        rest = await reader.read()
        assert b'"lo."' in rest
        assert b"data: [DONE]\n\n" in rest


async def test_an_upstream_that_dies_in_mid_stream_is_told(served: Served) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        await response.write(chunk("Hel"))
        hang_up(request)
        return response

    served.upstream.script = script
    async with httpx.AsyncClient(base_url=served.base) as client:
        reply = await client.post(CHAT, json=ASKED | {"stream": True})
    assert reply.status_code == 200
    *_, last = reply.text.strip().split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == 502
    assert "[DONE]" not in reply.text


async def test_small_packets_go_out_at_once(served: Served) -> None:
    async with connected(served) as (reader, writer):
        writer.write(request_bytes(json.dumps(ASKED).encode()))
        await reader.readuntil(b'"mode":"direct"}')
        [connection] = served.server.server_state.connections
        assert connection.transport is not None
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_20_mb_body_is_refused_and_the_refusal_arrives(served: Served, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1_000_000

    async with httpx.AsyncClient(base_url=served.base) as client:
        reply = await client.post(CHAT, content=pieces() if chunked else b"x" * 20_000_000)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "VALIDATION_ERROR")
        assert (await client.post(CHAT, json=ASKED)).status_code == 200
    assert served.relay.orders == []


async def test_a_client_that_waits_to_be_asked_for_its_body(served: Served) -> None:
    async with connected(served) as (reader, writer):
        head = request_bytes(b"x" * 20_000_000, "Expect: 100-continue").split(b"\r\n\r\n")[0]
        writer.write(head + b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")


async def test_a_synchronous_call_is_kept_and_can_be_polled(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.base) as client:
        task_id = (await client.post(CHAT, json=ASKED)).json()["task_id"]
        async with asyncio.timeout(PATIENCE_S):
            while not served.relay.kept:
                await asyncio.sleep(0.005)
        reply = await client.get(f"/v2/tasks/{task_id.replace(':', '%3A')}")
        assert reply.json()["status"] == "completed"
