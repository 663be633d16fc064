"""The unmodified OpenAI SDK does with the relay what it does with OpenAI."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from tests.e2e.relay_client import MODEL
from tests.parts.network import RunningNetwork


@pytest.fixture
async def sdk(network: RunningNetwork) -> AsyncIterator[openai.AsyncOpenAI]:
    up = network.up
    http = httpx.AsyncClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=f"{up['base_url']}/v2/openai/v1", api_key=up["api_key"], max_retries=0, http_client=http
    ) as client:
        yield client


@pytest.mark.parametrize("mode", ["opengpu", "direct", "auto"])
async def test_a_completion(sdk: openai.AsyncOpenAI, mode: str) -> None:
    answer = await sdk.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello!"}], extra_body={"mode": mode}
    )
    assert answer.object == "chat.completion"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    extra = answer.model_extra or {}
    assert extra["task_id"].startswith(f"{extra['mode']}:")
    assert bool(extra["task_address"]) == (extra["mode"] == "opengpu")
    assert mode in ("auto", extra["mode"])


async def test_a_stream_in_direct_mode_with_usage(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Hello!"}],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"mode": "direct"},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 1
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert {chunk.choices[0].finish_reason for chunk in chunks if chunk.choices} == {None, "stop"}


@pytest.mark.parametrize("mode", ["opengpu", "direct"])
async def test_a_text_completion(sdk: openai.AsyncOpenAI, mode: str) -> None:
    answer = await sdk.completions.create(
        model=MODEL, prompt=[[1, 2, 3], [4, 5]], max_tokens=4, n=2, extra_body={"mode": mode}
    )
    assert answer.object == "text_completion"
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert (answer.model_extra or {})["mode"] == mode
    with pytest.raises(openai.BadRequestError, match="echo"):
        await sdk.completions.create(model=MODEL, prompt="Hi", echo=True, max_tokens=4, extra_body={"mode": mode})


async def test_a_streamed_text_completion(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.completions.create(model=MODEL, prompt=[1, 2, 3], max_tokens=4, stream=True)
    parts = [part async for part in stream]
    assert "".join(part.choices[0].text for part in parts if part.choices)


async def test_the_tiny_model_gives_no_embeddings(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="not offered"):
        await sdk.embeddings.create(model=MODEL, input="Hi")


async def test_the_same_seed_gives_the_same_answer(sdk: openai.AsyncOpenAI) -> None:
    async def ask() -> str | None:
        answer = await sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "What is 2 + 3?"}], seed=7, temperature=0
        )
        return answer.choices[0].message.content

    assert await ask() == await ask()


async def test_models(sdk: openai.AsyncOpenAI) -> None:
    listed = (await sdk.models.list()).data
    assert MODEL in [model.id for model in listed]


async def test_a_bad_parameter(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        await sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello!"}], temperature=3.5
        )
    assert "temperature" in str(refused.value)


async def test_an_unknown_model(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await sdk.chat.completions.create(model="no/such", messages=[{"role": "user", "content": "Hello!"}])


async def test_a_bad_key(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await sdk.with_options(api_key="relay_sk_" + "0" * 40).chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello!"}]
        )
