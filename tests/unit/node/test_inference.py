"""The backend client over real HTTP, against a server that answers what it is told to."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from coordinator.protocol.envelope import Endpoint, Envelope
from coordinator.protocol.report import MAX_ANSWER_CHARACTERS, FailureCode
from node.inference.backend import BackendAddress, BackendFault, HttpBackend, backend_session
from node.inference.run import Answer, Inference
from node.inference.watch import WatchedBackend
from node.results.report import failed
from tests.fakes.backend import Answer as Answering
from tests.fakes.backend import BackendHttp, completion
from tests.fakes.coordinator_http import envelope, until

PROMPT = "A secret that only the client and the model may know."
TOOL = {"type": "function", "function": {"name": "now"}}


@pytest.fixture
async def backend() -> AsyncIterator[BackendHttp]:
    async with BackendHttp() as server:
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with backend_session(4) as opened:
        yield opened


def inference(session: aiohttp.ClientSession, url: str, *, own_name: str = "m", **options: Any) -> Inference:
    limit = options.pop("limit", timedelta(seconds=10))
    address = BackendAddress(url, options.pop("api_key", None))
    return Inference(HttpBackend(session, address), {"m": own_name}, limit, **options)


async def run(
    session: aiohttp.ClientSession, url: str, request: dict[str, Any] | None = None, **options: Any
) -> Answer:
    return await inference(session, url, **options).run(envelope(request), unheard)


def unheard() -> None:
    """A first token that nobody waits for."""


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": PROMPT}], **fields}


async def fault(
    session: aiohttp.ClientSession, url: str, request: dict[str, Any] | None = None, **options: Any
) -> BackendFault:
    with pytest.raises(BackendFault) as raised:
        await run(session, url, request or asking(), **options)
    assert PROMPT not in raised.value.message
    assert len(raised.value.message) <= 500
    return raised.value


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_the_request_goes_out_and_the_answer_comes_back_byte_for_byte(
    backend: BackendHttp, session: aiohttp.ClientSession, suffix: str
) -> None:
    """What is asked for in one piece; streamed answers are in test_streamed.py."""
    backend.body = (
        b' {"choices" : [ {"message":{"content":"\xc3\xa9\\u00e9 \\ud83d\\ude00"},"finish_reason":"stop"} ],'
        b' "usage":{"prompt_tokens":3}}\n'
    )
    given = envelope(asking(seed=2**70, temperature=0.10, tools=[TOOL]))
    answer = await inference(session, backend.url + suffix).run(given, unheard)
    assert backend.requests == [given.request.encode()]
    assert answer.body.encode() == backend.body
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 0)
    assert 0 < answer.started_at_ms <= answer.finished_at_ms


async def test_an_envelope_says_which_path_its_request_is_for(
    backend: BackendHttp, session: aiohttp.ClientSession
) -> None:
    text = b'{"model":"m","choices":[{"text":"time","finish_reason":"stop"}]}'
    vectors = b'{"model":"m","data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":3,"total_tokens":3}}'
    runs: list[tuple[Endpoint, dict[str, Any], bytes]] = [
        ("completions", {"model": "m", "prompt": "Once"}, text),
        ("embeddings", {"model": "m", "input": "Once"}, vectors),
    ]
    for endpoint, request, answer in runs:
        backend.body = answer
        given = envelope(request).model_copy(update={"endpoint": endpoint})
        told = await inference(session, backend.url).run(given, unheard)
        assert backend.paths[-1] == f"/v1/{endpoint}"
        assert told.body.encode() == answer
    assert (told.prompt_tokens, told.completion_tokens) == (3, 0)


async def test_an_answer_of_another_endpoint_is_none(backend: BackendHttp, session: aiohttp.ClientSession) -> None:
    given = envelope({"model": "m", "prompt": "Once"}).model_copy(update={"endpoint": "completions"})
    with pytest.raises(BackendFault) as raised:
        await inference(session, backend.url).run(given, unheard)
    assert raised.value.code is FailureCode.BACKEND_ERROR


@pytest.mark.parametrize("field", ["prompt", "input"])
async def test_a_refusal_does_not_repeat_the_prompt_at_any_endpoint(
    backend: BackendHttp, session: aiohttp.ClientSession, field: str
) -> None:
    backend.answer(400, {"error": {"message": f"can't take: {PROMPT}"}})
    endpoint = "completions" if field == "prompt" else "embeddings"
    given = envelope({"model": "m", field: [PROMPT]}).model_copy(update={"endpoint": endpoint})
    with pytest.raises(BackendFault) as raised:
        await inference(session, backend.url).run(given, unheard)
    assert PROMPT not in raised.value.message


async def test_embeddings_are_handed_in_as_the_client_asked_for_them(
    backend: BackendHttp, session: aiohttp.ClientSession
) -> None:
    backend.body = b'{"model":"m","data":[{"embedding":[0.5]}]}'
    request = {"model": "m", "input": "Once", "encoding_format": "base64"}
    given = envelope(request).model_copy(update={"endpoint": "embeddings"})
    told = json.loads((await inference(session, backend.url).run(given, unheard)).body)
    assert told == {"model": "m", "data": [{"embedding": "AAAAPw=="}]}


async def test_a_parameter_that_llama_cpp_passes_over_is_the_clients_fault(
    backend: BackendHttp, session: aiohttp.ClientSession
) -> None:
    request = {"model": "m", "prompt": "Once", "echo": True}
    given = envelope(request).model_copy(update={"endpoint": "completions"})
    with pytest.raises(BackendFault, match="BACKEND_UNSUPPORTED") as raised:
        await inference(session, backend.url, kind="llamacpp").run(given, unheard)
    assert raised.value.message.startswith("echo")


async def test_the_backends_own_model_name_and_key(backend: BackendHttp, session: aiohttp.ClientSession) -> None:
    await run(session, backend.url, asking(seed=2**70, stop=["é"]), own_name="org/own", api_key="sk-1")
    sent = json.loads(backend.requests[0])
    assert sent.pop("stream") is True
    assert sent.pop("stream_options") == {"include_usage": True}
    assert sent == asking(seed=2**70, stop=["é"], model="org/own")
    assert backend.headers[0]["Authorization"] == "Bearer sk-1"
    assert backend.headers[0]["Accept-Encoding"] == "identity"


async def test_a_model_that_is_not_served_is_handed_back(backend: BackendHttp, session: aiohttp.ClientSession) -> None:
    with pytest.raises(BackendFault) as raised:
        await inference(session, backend.url).run(envelope(model="other"), unheard)
    assert raised.value.code is FailureCode.HANDED_BACK
    assert not backend.requests


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_the_backend_calls_invalid_is_the_clients(
    backend: BackendHttp, session: aiohttp.ClientSession, status: int
) -> None:
    backend.answer(status, {"error": {"message": "top_k must be positive", "type": "invalid_request_error"}})
    raised = await fault(session, backend.url)
    assert (raised.code, raised.backend_status) == (FailureCode.BACKEND_REFUSED, status)
    assert raised.message == "top_k must be positive"


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 429, 500, 502, 503, 600, 999])
async def test_what_the_node_got_wrong_is_the_nodes(
    backend: BackendHttp, session: aiohttp.ClientSession, status: int
) -> None:
    backend.answer(status, {"error": {"message": "model `own` does not exist"}})
    raised = await fault(session, backend.url)
    assert raised.code is FailureCode.BACKEND_ERROR
    assert failed(envelope(), raised).failure is not None
    assert raised.backend_status == (status if status < 600 else None)


async def test_not_implemented_is_a_parameter_that_the_backend_cannot_do(
    backend: BackendHttp, session: aiohttp.ClientSession
) -> None:
    backend.answer(501, {"error": {"message": "This server does not support tools.", "type": "not_supported_error"}})
    assert (await fault(session, backend.url)).code is FailureCode.BACKEND_UNSUPPORTED


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "model not loaded"}, "model not loaded"),
        ({"object": "error", "message": "too long", "code": 400}, "too long"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too big", "input": PROMPT}]}, "n: too big"),
        ({"detail": "no"}, "no"),
        ({"error": {"message": f"can't read: {PROMPT}"}}, "the backend answered with HTTP 400"),
        ({"error": {"message": "x" * 900}}, "x" * 500),
        ({}, "the backend answered with HTTP 400"),
        ([], "the backend answered with HTTP 400"),
        (b"<html>", "the backend answered with HTTP 400"),
        (b"", "the backend answered with HTTP 400"),
    ],
)
async def test_the_backends_own_words_without_the_prompt(
    backend: BackendHttp, session: aiohttp.ClientSession, body: Any, message: str
) -> None:
    backend.answer(400, body)
    assert (await fault(session, backend.url)).message == message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": "text"}]}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        b'{"error": {"message": "said with 200"}}',
    ],
)
async def test_an_answer_that_is_no_completion(
    backend: BackendHttp, session: aiohttp.ClientSession, body: bytes
) -> None:
    backend.answer(200, body)
    assert (await fault(session, backend.url)).code is FailureCode.BACKEND_ERROR


async def test_a_parameter_that_was_not_done_is_named(backend: BackendHttp, session: aiohttp.ClientSession) -> None:
    raised = await fault(session, backend.url, asking(n=3))
    assert raised.code is FailureCode.BACKEND_UNSUPPORTED
    assert raised.message.startswith("n: ")


async def test_what_the_backend_would_pass_over_is_not_even_asked(
    backend: BackendHttp, session: aiohttp.ClientSession
) -> None:
    raised = await fault(session, backend.url, asking(repetition_penalty=1.2), kind="llamacpp")
    assert raised.code is FailureCode.BACKEND_UNSUPPORTED
    assert raised.message.startswith("repetition_penalty: ")
    assert not backend.requests


async def test_nobody_listens(session: aiohttp.ClientSession) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        raised = await fault(session, f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert raised.code is FailureCode.BACKEND_UNREACHABLE


async def test_the_connection_breaks_in_the_middle(backend: BackendHttp, session: aiohttp.ClientSession) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices"')
        assert request.transport is not None
        request.transport.abort()
        return response

    backend.answers.append(half)
    assert (await fault(session, backend.url)).code is FailureCode.BACKEND_UNREACHABLE


async def test_a_kept_connection_that_the_server_closed_is_tried_once_more(
    backend: BackendHttp, session: aiohttp.ClientSession
) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    backend.answers.append(hang_up)
    assert (await run(session, backend.url)).completion_tokens == 2
    backend.answers += [hang_up, hang_up]
    assert (await fault(session, backend.url)).code is FailureCode.BACKEND_UNREACHABLE


@pytest.mark.parametrize("due_ms", [100, 60_000])
async def test_no_answer_in_time(backend: BackendHttp, session: aiohttp.ClientSession, due_ms: int) -> None:
    """By the deadline of the task or by the node's own limit, whichever is sooner."""
    backend.open.clear()
    given = envelope(asking())
    given = given.model_copy(update={"deadline_ms": given.assigned_at_ms + due_ms})
    with pytest.raises(BackendFault) as raised:
        await inference(session, backend.url, limit=timedelta(milliseconds=150)).run(given, unheard)
    assert raised.value.code is FailureCode.BACKEND_TIMEOUT
    await until(lambda: backend.broken_off)


async def test_a_cancelled_attempt_hangs_up(backend: BackendHttp, session: aiohttp.ClientSession) -> None:
    backend.open.clear()
    task = asyncio.create_task(run(session, backend.url))
    await until(lambda: backend.busy)
    task.cancel()
    await until(lambda: backend.broken_off)


@pytest.mark.parametrize("request_text", ["[]", "{", '"x"'])
async def test_a_request_that_is_no_object(
    backend: BackendHttp, session: aiohttp.ClientSession, request_text: str
) -> None:
    given = Envelope.model_validate({**envelope().model_dump(), "request": request_text})
    with pytest.raises(BackendFault) as raised:
        await inference(session, backend.url).run(given, unheard)
    assert raised.value.code is FailureCode.BACKEND_REFUSED


@pytest.mark.parametrize(
    "usage", [None, [], {"prompt_tokens": -1, "completion_tokens": True}, {"prompt_tokens": 2**40}]
)
async def test_strange_token_counts_are_none(backend: BackendHttp, session: aiohttp.ClientSession, usage: Any) -> None:
    backend.answer(200, completion(usage=usage))
    answer = await run(session, backend.url)
    assert (answer.prompt_tokens, answer.completion_tokens) == (0, 0)


async def test_what_a_backend_calls_itself(backend: BackendHttp, session: aiohttp.ClientSession) -> None:
    assert await HttpBackend(session, BackendAddress(backend.url)).kind() == "vllm"
    await backend.stop()
    assert await HttpBackend(session, BackendAddress(backend.url)).kind() is None


async def test_a_list_of_models_that_never_ends_is_not_read_to_its_end(session: aiohttp.ClientSession) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"a" * 2**20)
            sent += 1

    async with served("GET", "/v1/models", endless) as url:
        assert await HttpBackend(session, BackendAddress(url)).kind() == ""
    assert sent < 2 * MAX_ANSWER_CHARACTERS / 2**20


async def test_a_backend_sends_nobody_elsewhere(backend: BackendHttp, session: aiohttp.ClientSession) -> None:
    """Neither requests nor the key that goes with them."""

    async def elsewhere(_: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(f"{backend.url}/v1/models")

    async with served("*", "/v1/{path:.*}", elsewhere) as url:
        assert await HttpBackend(session, BackendAddress(url)).kind() == ""
        assert (await fault(session, url)).code is FailureCode.BACKEND_ERROR
    assert not backend.requests


@asynccontextmanager
async def served(method: str, path: str, answer: Answering) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route(method, path, answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_backend_that_goes_and_comes_back_is_noticed(
    backend: BackendHttp, session: aiohttp.ClientSession
) -> None:
    changes: list[bool] = []
    watched = WatchedBackend(HttpBackend(session, BackendAddress(backend.url)), pause=timedelta(milliseconds=10))
    watched.on_change = changes.append
    await backend.stop()
    for _ in range(3):
        with pytest.raises(BackendFault):
            await watched.complete(b"{}", timedelta(seconds=5))
    await until(lambda: changes == [True])
    await backend.start()
    await until(lambda: changes == [True, False])
    backend.answer(500, {})
    with pytest.raises(BackendFault):
        await watched.complete(b"{}", timedelta(seconds=5))
    await watched.close()
    assert changes == [True, False]


def test_the_key_of_a_backend_is_not_shown() -> None:
    assert "sk-1" not in repr(BackendAddress("http://b", "sk-1"))
