"""Answers that the node asks for as a stream: over real HTTP, from a server that sends what it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from coordinator.protocol.report import FailureCode
from node.inference.backend import BackendAddress, BackendFault, HttpBackend, backend_session
from node.inference.run import Answer, Inference
from tests.fakes.backend import BackendHttp, chunk, chunks, completion, sse
from tests.fakes.coordinator_http import envelope, until

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "A secret."}]}
TOOL = {"type": "function", "function": {"name": "now"}}


@pytest.fixture
async def backend() -> AsyncIterator[BackendHttp]:
    async with BackendHttp() as server:
        yield server


class Node:
    """Asks one backend."""

    def __init__(self, session: aiohttp.ClientSession, url: str, silence: timedelta) -> None:
        self.inference = Inference(
            HttpBackend(session, BackendAddress(url), silence), {"m": "m"}, timedelta(seconds=10)
        )
        self.heard = 0

    async def ask(self, **fields: Any) -> Answer:
        return await self.inference.run(envelope({**ASKED, **fields}), self._hear)

    async def fault(self, **fields: Any) -> BackendFault:
        with pytest.raises(BackendFault) as raised:
            await self.ask(**fields)
        return raised.value

    def _hear(self) -> None:
        self.heard += 1


@pytest.fixture
async def node(backend: BackendHttp) -> AsyncIterator[Node]:
    async with backend_session(20) as session:
        yield Node(session, backend.url, timedelta(seconds=5))


@pytest.fixture
async def hasty(backend: BackendHttp) -> AsyncIterator[Node]:
    """Doesn't wait long for the next token."""
    async with backend_session(4) as session:
        yield Node(session, backend.url, timedelta(milliseconds=50))


async def test_what_came_in_a_stream_is_answered_in_one_piece(backend: BackendHttp, node: Node) -> None:
    backend.stream(*(sse([frame], done=False) for frame in chunks("Hel", "lo")), b"data: [DONE]\n\n")
    answer = await node.ask(seed=2**70)
    assert json.loads(backend.requests[0]) == {
        **ASKED,
        "seed": 2**70,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    told = json.loads(answer.body)
    assert told["object"] == "chat.completion"
    assert told["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
    assert (answer.prompt_tokens, answer.completion_tokens) == (7, 2)
    assert node.heard == 1


async def test_whether_it_is_streamed_is_the_nodes_to_say(backend: BackendHttp, node: Node) -> None:
    await node.ask(stream=False, stream_options={"include_usage": False})
    sent = json.loads(backend.requests[0], object_pairs_hook=list)
    assert [name for name, _ in sent].count("stream") == 1
    assert dict(sent)["stream"] is True
    await node.ask(tools=[TOOL])
    assert json.loads(backend.requests[1]) == {**ASKED, "tools": [TOOL]}


async def test_the_first_token_is_heard_when_it_comes_not_when_the_answer_does(
    backend: BackendHttp, node: Node
) -> None:
    begin, go_on = asyncio.Event(), asyncio.Event()
    first, *rest = chunks("a", "b")
    backend.stream(sse([first], done=False), begin, sse(rest[:1], done=False), go_on, sse(rest[1:]))
    asked = asyncio.create_task(node.ask())
    await until(lambda: backend.busy)
    assert node.heard == 0
    begin.set()
    await until(lambda: node.heard)
    assert not asked.done()
    go_on.set()
    assert json.loads((await asked).body)["choices"][0]["message"]["content"] == "ab"


async def test_the_connection_is_used_again(backend: BackendHttp, node: Node) -> None:
    """Once it is known that the server is not one of those that hang up."""
    ports: list[int] = []

    async def say(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse(chunks("a")))
        return response

    backend.answers += [say] * 3
    for _ in range(3):
        await node.ask()
    assert ports[1] == ports[2]


async def test_a_cancelled_attempt_hangs_up_in_the_middle_of_its_stream(backend: BackendHttp, node: Node) -> None:
    backend.stream(sse(chunks("a")[:2], done=False), hang=True)
    asked = asyncio.create_task(node.ask())
    await until(lambda: node.heard)
    asked.cancel()
    await until(lambda: backend.broken_off)


async def test_a_backend_that_falls_silent_in_the_middle_is_given_up(backend: BackendHttp, hasty: Node) -> None:
    backend.stream(sse(chunks("a")[:2], done=False), hang=True)
    fault = await hasty.fault()
    assert fault.code is FailureCode.BACKEND_TIMEOUT
    assert "silent" in fault.message
    await until(lambda: backend.broken_off)


async def test_a_backend_that_only_takes_its_time_to_begin_is_not(backend: BackendHttp, hasty: Node) -> None:
    """Four times as long as it may pause later, in which it says that it lives."""
    pause = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, pause.set)
    role, *rest = chunks("a")
    backend.stream(b": wait\n\n", sse([role], done=False), pause, sse(rest))
    assert (await hasty.ask()).completion_tokens == 1


@pytest.mark.parametrize(
    "stream",
    [
        sse(chunks("Hel", "lo")[:3], done=False),
        sse(chunks("Hel", "lo")[:3]),
        b"",
        sse([]),
        sse(chunks()),
        b"\x00\x01 garbage\n\n" * 3,
        sse([chunk({"content": "a"}), b"{"]),
        sse([b'{"error":{"message":"the engine died","code":500}}']),
        sse([chunk({"content": "a"}), b'{"error":{"message":"no such parameter","code":400}}']),
    ],
)
async def test_a_stream_that_is_no_whole_answer_is_the_nodes_fault(
    backend: BackendHttp, node: Node, stream: bytes
) -> None:
    backend.stream(stream)
    assert (await node.fault()).code is FailureCode.BACKEND_ERROR


async def test_an_empty_answer_may_be_meant_so(backend: BackendHttp, node: Node) -> None:
    """Cut off by its limit, filtered, or ended by the client's own stop sequence."""
    for reason, fields in (("length", {}), ("content_filter", {}), ("stop", {"stop": ["a"]})):
        backend.stream(sse([chunk({"role": "assistant", "content": ""}), chunk({}, reason), chunk(usage={})]))
        answer = await node.ask(**fields)
        assert json.loads(answer.body)["choices"][0]["message"]["content"] == ""
    backend.stream(sse([chunk({"reasoning_content": "Hm."}), chunk({}, "stop"), chunk(usage={})]))
    await node.ask()


async def test_an_empty_answer_in_one_piece_is_no_more_of_one(backend: BackendHttp, node: Node) -> None:
    for content in ("", None):
        backend.answer(200, completion(content))
        assert (await node.fault()).code is FailureCode.BACKEND_ERROR


async def test_a_connection_that_breaks_in_a_stream(backend: BackendHttp, node: Node) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse(chunks("Hel", "lo")[:2], done=False))
        assert request.transport is not None
        request.transport.abort()
        return response

    backend.answers.append(cut)
    assert (await node.fault()).code is FailureCode.BACKEND_UNREACHABLE


async def test_a_refusal_that_comes_in_the_stream_is_the_clients(backend: BackendHttp, node: Node) -> None:
    backend.stream(sse([b'{"error":{"message":"top_k must be positive","code":400}}']))
    fault = await node.fault()
    assert (fault.code, fault.message) == (FailureCode.BACKEND_REFUSED, "top_k must be positive")


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}}),
        (422, {"detail": [{"loc": ["body", "stream"], "msg": "Extra inputs are not permitted"}]}),
    ],
)
async def test_a_backend_that_refuses_streams_is_asked_without_from_then_on(
    backend: BackendHttp, node: Node, status: int, refusal: Any
) -> None:
    backend.answer(status, refusal)
    assert (await node.ask()).completion_tokens == 2
    await node.ask()
    assert [b"stream" in request for request in backend.requests] == [True, False, False]
    assert node.heard == 0


async def test_a_refusal_that_only_speaks_of_streams_is_still_the_clients(backend: BackendHttp, node: Node) -> None:
    for _ in range(2):
        backend.answer(400, {"error": {"message": "no such river: its stream is dry"}})
    assert (await node.fault()).code is FailureCode.BACKEND_REFUSED
    await node.ask()
    assert b'"stream":true' in backend.requests[-1]


async def test_a_backend_that_streams_without_counts_is_asked_without_streaming(
    backend: BackendHttp, node: Node
) -> None:
    """Its node would be paid for nothing."""
    backend.stream(sse([frame for frame in chunks("a") if "usage" not in frame]))
    assert (await node.ask()).completion_tokens == 0
    assert (await node.ask()).completion_tokens == 2
    assert b'"stream"' not in backend.requests[-1]


async def test_an_error_instead_of_a_stream_is_no_sign_that_it_cannot(backend: BackendHttp, node: Node) -> None:
    backend.answer(200, {"error": {"message": "out of memory"}})
    assert (await node.fault()).code is FailureCode.BACKEND_ERROR
    await node.ask()
    assert b'"stream":true' in backend.requests[-1]


async def test_who_comes_back_may_be_another_server(backend: BackendHttp, node: Node) -> None:
    await node.ask()  # it answers in one piece
    await node.ask()
    assert b'"stream"' not in backend.requests[-1]
    await backend.stop()
    assert (await node.fault()).code is FailureCode.BACKEND_UNREACHABLE
    await backend.start()
    await node.ask()
    assert b'"stream":true' in backend.requests[-1]


async def test_a_server_that_hangs_up_behind_each_stream_loses_no_request(backend: BackendHttp, node: Node) -> None:
    """As llama.cpp does, although it says keep-alive."""

    async def say(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Server": "llama.cpp"})
        await response.prepare(request)
        await response.write(sse(chunks("a")))
        await response.write_eof()
        assert request.transport is not None
        request.transport.close()
        return response

    backend.answers += [say] * 200

    async def caller() -> None:
        for _ in range(10):
            await node.ask()

    await asyncio.gather(*(caller() for _ in range(20)))
    assert {headers.get("Connection") for headers in backend.headers} == {"close"}
