"""The unmodified OpenAI SDK against the relay: answers, streams, models, and errors as its own classes."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from aiohttp import web

from tests.fakes.upstream import answering, chunk, hang_up, opened_stream
from tests.integration.api.conftest import MODEL, Served

HELLO: Any = [{"role": "user", "content": "Hello!"}]


async def test_a_completion(served: Served) -> None:
    async with served.client() as client:
        answer = await client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0.5, seed=7)
    assert answer.choices[0].message.content == "Hello."
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert answer.model_extra is not None
    assert (answer.model_extra["mode"], answer.model_extra["task_address"]) == ("direct", None)
    assert served.upstream.requests == [{"model": "own-name", "messages": HELLO, "temperature": 0.5, "seed": 7}]


async def test_a_stream_with_usage(served: Served) -> None:
    async with served.client() as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        parts = [part async for part in stream]
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == "Hello."
    assert parts[-1].usage is not None
    assert parts[-1].usage.completion_tokens == 2


async def test_asynchronous_tasks_and_modes_travel_as_extra_fields(served: Served) -> None:
    async with served.client() as client:
        accepted = await client.chat.completions.create(
            model=MODEL, messages=HELLO, extra_body={"mode": "opengpu", "async": True}
        )
    assert accepted.model_extra is not None
    assert accepted.model_extra["status"] == "queued"
    assert [order.mode for order in served.relay.orders] == ["opengpu"]


async def test_models(served: Served) -> None:
    async with served.client() as client:
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).owned_by == "relay"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nobody/has-this")


async def test_a_bad_parameter(served: Served) -> None:
    async with served.client() as client:
        with pytest.raises(openai.UnprocessableEntityError, match="temperature") as caught:
            await client.chat.completions.create(model=MODEL, messages=HELLO, temperature=9)
    assert caught.value.request_id
    assert caught.value.code == "VALIDATION_ERROR"
    assert served.upstream.requests == []


async def test_a_bad_key(served: Served) -> None:
    async with served.client("relay_sk_bad") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model=MODEL, messages=HELLO)


@pytest.mark.parametrize("stream", [False, True])
async def test_upstream_failures_have_classes(served: Served, stream: bool) -> None:
    expected: list[tuple[int, type[openai.APIStatusError]]] = [
        (400, openai.BadRequestError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ]
    async with served.client() as client:
        for status, kind in expected:
            served.upstream.script = answering(status, {"error": {"message": "words"}}, {"Retry-After": "7"})
            with pytest.raises(kind) as caught:
                await client.chat.completions.create(model=MODEL, messages=HELLO, stream=stream)
            assert caught.value.message
            assert (caught.value.response.headers.get("retry-after") == "7") == (status in (429, 503))


async def test_a_stream_that_breaks_is_an_exception(served: Served) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        await response.write(chunk("Hel"))
        hang_up(request)
        return response

    served.upstream.script = script
    heard: list[str] = []

    async def listen(client: openai.AsyncOpenAI) -> None:
        async for part in await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True):
            heard.append(part.choices[0].delta.content or "")

    async with served.client() as client:
        with pytest.raises(openai.APIError):
            await listen(client)
    assert heard in ([], ["Hel"])
