"""The unmodified OpenAI SDK against the relay: answers, streams, models, and errors as its own classes."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import openai
import pytest
from aiohttp import web
from pydantic import BaseModel

from coordinator.errors import RateLimited
from tests.fakes.upstream import answering, as_asked, chunk, complete_or_stream, hang_up, opened_stream
from tests.integration.api.conftest import MODEL, Served

HELLO: Any = [{"role": "user", "content": "Hello!"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


class Reply(BaseModel):
    answer: str


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


async def test_tools_streamed_and_whole(served: Served) -> None:
    served.upstream.script = as_asked
    async with served.client() as client:
        answer = await client.chat.completions.create(
            model=MODEL, messages=HELLO, tools=TOOLS, tool_choice="required", parallel_tool_calls=False
        )
        async with client.chat.completions.stream(model=MODEL, messages=HELLO, tools=TOOLS) as stream:
            streamed = await stream.get_final_completion()
    for message in (answer.choices[0].message, streamed.choices[0].message):
        assert message.tool_calls is not None
        called: Any = message.tool_calls[0]
        assert (called.function.name, called.function.arguments) == ("weather", '{"city":"Rome"}')


async def test_logprobs_n_and_response_format(served: Served) -> None:
    served.upstream.script = as_asked
    async with served.client() as client:
        likely = await client.chat.completions.create(model=MODEL, messages=HELLO, logprobs=True, top_logprobs=2)
        several = await client.chat.completions.create(model=MODEL, messages=HELLO, n=3)
        typed = await client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Reply)
    assert likely.choices[0].logprobs is not None
    assert likely.choices[0].logprobs.content is not None
    assert len(likely.choices[0].logprobs.content[0].top_logprobs) == 2
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert typed.choices[0].message.parsed == Reply(answer="Hello.")


async def test_text_completions(served: Served) -> None:
    served.upstream.script = as_asked
    async with served.client() as client:
        answer = await client.completions.create(model=MODEL, prompt="Once upon a", n=2, logprobs=1, max_tokens=8)
        stream = await client.completions.create(model=MODEL, prompt="Once upon a", stream=True)
        parts = [part.choices[0].text async for part in stream]
    assert [choice.text for choice in answer.choices] == [" time.", " time."]
    assert "".join(parts) == " time."


async def test_embeddings_from_a_server_that_knows_numbers_alone(served: Served) -> None:
    """The SDK asks for base64 unless it is told otherwise."""
    served.upstream.script = as_asked
    async with served.client() as client:
        standard = await client.embeddings.create(model=MODEL, input=["a", "b"])
        numbers = await client.embeddings.create(model=MODEL, input="a", encoding_format="float", dimensions=2)
    assert served.upstream.requests[0]["encoding_format"] == "base64"
    assert [item.embedding for item in standard.data] == [[0.5, -2.0], [1.5, -2.0]]
    assert numbers.data[0].embedding == [0.5, -2.0]


async def test_a_model_that_is_not_offered_there(served: Served) -> None:
    async with served.client() as client:
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="nobody/has-this", input="a")


async def test_fields_that_it_sends_today(served: Served) -> None:
    async with served.client() as client:
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            user="me",
            metadata={"a": "b"},
            store=False,
            service_tier="auto",
            modalities=["text"],
            verbosity="medium",
            safety_identifier="s",
            prompt_cache_key="k",
            prompt_cache_retention="24h",
            prediction={"type": "content", "content": "Hello."},
        )
        with pytest.raises(openai.UnprocessableEntityError, match="use tools"):
            await client.chat.completions.create(model=MODEL, messages=HELLO, functions=[{"name": "weather"}])
    assert answer.choices


async def test_it_waits_as_long_as_a_rate_limited_upstream_asks_for(served: Served) -> None:
    times: list[float] = []

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        times.append(time.monotonic())
        if len(times) == 1:
            return await answering(429, {"error": {"message": "later"}}, {"Retry-After": "2"})(request, body)
        return await complete_or_stream(request, body)

    served.upstream.script = script
    async with served.client(max_retries=1) as client:
        assert (await client.chat.completions.create(model=MODEL, messages=HELLO)).choices
    assert times[1] - times[0] >= 2


async def test_it_waits_as_long_as_the_relay_asks_for(served: Served) -> None:
    served.keys.refusal = RateLimited("Too many requests.", retry_after=timedelta(seconds=2))
    async with served.client(max_retries=1) as client:
        asking = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=HELLO))
        refused = await served.lifted()
        assert (await asking).choices
    assert time.monotonic() - refused >= 2
