"""Streams that are whole, and streams that are not: a client can always tell them apart."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import web

from coordinator.errors import UpstreamError, UpstreamInvalidRequest
from tests.fakes.upstream import DONE, chunk, hang_up, never, opened_stream, streamed
from tests.fakes.upstream_pool import STREAM, frames_of, pool_of


async def test_a_stream_in_odd_pieces_comes_in_whole_frames() -> None:
    whole = b": a comment\n\n" + chunk("Hel") + chunk("lo.") + DONE

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        for place in range(0, len(whole), 7):
            await response.write(whole[place : place + 7])
            await asyncio.sleep(0)
        return response

    async with pool_of(script) as (pool, _):
        stream = await pool.stream("m", STREAM)
        frames = [part async for part in stream]
        await stream.aclose()
        assert all(part.endswith(b"\n\n") for part in frames)
        assert b"".join(frames) == chunk("Hel") + chunk("lo.") + DONE


@pytest.mark.parametrize(
    "end", [b"data: [DONE]\r\n\r\n", b"data:[DONE]\n\n", b"data: [DONE]", b"data: [DONE]\n\nx: 1\n\n"]
)
async def test_ends_that_count_as_whole(end: bytes) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streamed(request, [chunk("a"), end])

    async with pool_of(script) as (pool, _):
        assert (await frames_of(pool)).endswith(b"data: [DONE]\n\n")


async def test_a_server_that_hangs_up_behind_each_stream_loses_no_request() -> None:
    """As llama.cpp does, although it says keep-alive."""

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Server": "llama.cpp"})
        await response.prepare(request)
        await response.write(chunk("a") + DONE)
        await response.write_eof()
        assert request.transport is not None
        request.transport.close()
        return response

    async with pool_of(script) as (pool, (upstream,)):
        for _ in range(50):
            assert (await frames_of(pool)).endswith(DONE)
        assert {headers.get("Connection") for headers in upstream.headers} == {"close"}


async def test_another_server_is_asked_again_on_the_same_connection() -> None:
    async with pool_of(None) as (pool, (upstream,)):
        for _ in range(3):
            await frames_of(pool)
        assert [headers.get("Connection") for headers in upstream.headers] == ["close", None, None]


@pytest.mark.parametrize("how", ["ends", "dies", "dies within a frame", "errs", "errs, then done"])
async def test_a_truncated_answer_ends_with_an_error_and_never_with_done(how: str) -> None:
    error = b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'

    begun = asyncio.Event()

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        await response.write(chunk("data: [DONE]"))
        await begun.wait()
        if how == "dies within a frame":
            await response.write(b'data: {"choices": [')
        if how.startswith("errs"):
            await response.write(error + (DONE if "then" in how else b""))
        if how.startswith("dies"):
            hang_up(request)
        return response

    async with pool_of(script) as (pool, _):
        stream = await pool.stream("m", STREAM)
        begun.set()
        told = b"".join([part async for part in stream])
        await stream.aclose()
    *frames, last, nothing = told.split(b"\n\n")
    assert nothing == b""
    assert frames == [chunk("data: [DONE]").strip()]
    assert orjson.loads(last.removeprefix(b"data: "))["error"]["message"]
    assert b"\ndata: [DONE]" not in told


async def test_an_upstream_that_falls_silent() -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        await response.write(chunk("a"))
        return await never(request, body)

    async with pool_of(script, silence_seconds=0.05) as (pool, [fake]):
        told = await frames_of(pool)
        assert told.startswith(chunk("a"))
        assert b'"code":504' in told
        async with asyncio.timeout(5):
            await fake.cancelled.wait()


async def test_an_error_as_the_first_frame_is_a_failure_before_it() -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streamed(request, [b'data: {"error": {"message": "too long", "code": 400}}\n\n'])

    async with pool_of(script) as (pool, _):
        with pytest.raises(UpstreamInvalidRequest, match="too long"):
            await pool.stream("m", STREAM)


@pytest.mark.parametrize("frames", [[], [DONE], [b": only a comment\n\n"], [b"x" * 5_000_000]])
async def test_a_stream_without_a_first_frame(frames: list[bytes]) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streamed(request, frames)

    async with pool_of(script) as (pool, _):
        with pytest.raises(UpstreamError):
            await pool.stream("m", STREAM)


async def test_a_connection_is_used_again_after_a_whole_stream_and_closed_after_half_of_one() -> None:
    ports: list[Any] = []

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return await streamed(request, [chunk("a"), chunk("b"), DONE])

    async with pool_of(script) as (pool, _):
        await frames_of(pool)  # nobody knows yet whether the server keeps its connections
        ports.clear()
        await frames_of(pool)
        await frames_of(pool)
        half = await pool.stream("m", STREAM)
        await half.aclose()
        await half.aclose()
        await frames_of(pool)
    assert ports[0] == ports[1] == ports[2]
