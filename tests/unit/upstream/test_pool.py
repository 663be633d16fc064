"""The pool against servers that fail in every way: who is asked, who is asked next, and what the client is told."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from pydantic import SecretStr

from coordinator.errors import (
    CapacityExhausted,
    ProviderUnavailable,
    RelayError,
    UpstreamError,
    UpstreamInvalidRequest,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from coordinator.upstream.pool import UpstreamPool
from tests.fakes.upstream import ANSWER, COMPLETION, DONE, FakeUpstream, Script, answering, as_asked, never
from tests.fakes.upstream_pool import REQUEST, dying, frames_of, nobody_there, pool_of, upstream


async def test_an_answer_comes_as_it_is_and_the_request_under_the_upstreams_own_name() -> None:
    async with pool_of(None, own="own-name") as (pool, [fake]):
        assert await pool.complete("m", REQUEST) == ANSWER
        assert fake.requests == [orjson.loads(REQUEST) | {"model": "own-name"}]
        assert "Authorization" not in fake.headers[0]


async def test_each_endpoint_has_its_path() -> None:
    text = orjson.dumps({"model": "m", "prompt": "Once", "n": 2})
    texts = orjson.dumps({"model": "m", "input": ["a", "b"]})
    async with pool_of(as_asked, own="own-name") as (pool, [fake]):
        assert len(orjson.loads(await pool.complete("m", text, "completions"))["choices"]) == 2
        assert len(orjson.loads(await pool.complete("m", texts, "embeddings"))["data"]) == 2
        assert fake.paths == ["/v1/completions", "/v1/embeddings"]
        with pytest.raises(UpstreamError):
            await pool.complete("m", text, "embeddings")


async def test_embeddings_in_the_encoding_that_was_asked_for() -> None:
    asked = orjson.dumps({"model": "m", "input": "a", "encoding_format": "base64"})
    async with pool_of(as_asked) as (pool, _):
        [item] = orjson.loads(await pool.complete("m", asked, "embeddings"))["data"]
        assert item["embedding"] == "AAAAPwAAAMA="


async def test_a_request_under_the_same_name_keeps_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool_of(None) as (pool, [fake]):
        odd = REQUEST.replace(b",", b" ,\n")
        await pool.complete("m", odd)
        assert fake.headers[0]["Content-Length"] == str(len(odd))


async def test_the_upstreams_key_is_sent() -> None:
    async with FakeUpstream().serving() as fake:
        with_key = upstream(fake.base_url, api_key=None)
        pool = UpstreamPool([with_key.model_copy(update={"api_key": SecretStr("sk-1")})])
        await pool.complete("m", REQUEST)
        await pool.close()
        assert fake.headers[0]["Authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answering(500, {}), UpstreamError),
        (answering(503, {}, {"Retry-After": "9"}), CapacityExhausted),
        (answering(429, {}, {"Retry-After": "9"}), UpstreamRateLimited),
        (answering(401, {"error": "bad key sk-1"}), ProviderUnavailable),
        (answering(404, {"error": "no such model"}), ProviderUnavailable),
        (answering(302, {}, {"Location": "http://elsewhere.example"}), UpstreamError),
        (answering(200, {"choices": []}), UpstreamError),
        (answering(200, [1]), UpstreamError),
        (dying, UpstreamError),
    ],
)
async def test_another_upstream_takes_over_before_the_first_byte(script: Script, kind: type[RelayError]) -> None:
    for call in ("complete", "stream"):
        async with pool_of(script, None) as (pool, [bad, good]):
            if call == "complete":
                assert await pool.complete("m", REQUEST) == ANSWER
            else:
                assert (await frames_of(pool)).endswith(DONE)
            assert (len(bad.requests), len(good.requests)) == (1, 1)
            await pool.complete("m", REQUEST)
            assert len(bad.requests) == 1  # it is left alone for a while
        async with pool_of(script) as (pool, _):
            with pytest.raises(kind) as caught:
                await (pool.complete("m", REQUEST) if call == "complete" else frames_of(pool))
            assert "sk-1" not in caught.value.message


async def test_three_are_tried_and_no_more() -> None:
    async with pool_of(*[answering(500, {})] * 4) as (pool, fakes):
        with pytest.raises(UpstreamError):
            await pool.complete("m", REQUEST)
        assert sum(len(fake.requests) for fake in fakes) == 3


async def test_what_a_client_got_wrong_is_wrong_everywhere() -> None:
    refusing = answering(400, {"error": {"message": "seed: must be smaller"}})
    async with pool_of(refusing, refusing) as (pool, fakes):
        for call in (pool.complete, pool.stream):
            with pytest.raises(UpstreamInvalidRequest, match="seed: must be smaller"):
                await call("m", REQUEST)
        assert [len(fake.requests) for fake in fakes] == [1, 1]  # one each: nobody was asked twice, nobody cools down


async def test_nobody_there() -> None:
    pool = UpstreamPool([upstream(nobody_there())])
    with pytest.raises(ProviderUnavailable, match="can't be reached"):
        await pool.complete("m", REQUEST)
    with pytest.raises(ProviderUnavailable, match="No upstream serves"):
        await pool.complete("unknown", REQUEST)
    await pool.close()


async def test_an_answer_that_takes_too_long_is_given_up_and_not_asked_for_again() -> None:
    async with pool_of(never, never, answer_seconds=0.05) as (pool, fakes):
        for call in (pool.complete, pool.stream):
            with pytest.raises(UpstreamTimeout):
                await call("m", REQUEST)
        for fake in fakes:
            async with asyncio.timeout(5):
                await fake.cancelled.wait()
            assert len(fake.requests) == 1


async def test_the_least_busy_one_is_asked() -> None:
    async with pool_of(never, None) as (pool, [busy, idle]):
        waiting = asyncio.create_task(pool.complete("m", REQUEST))
        async with asyncio.timeout(5):
            while not busy.requests:
                await asyncio.sleep(0.001)
        for _ in range(3):
            await pool.complete("m", REQUEST)
        assert (len(busy.requests), len(idle.requests)) == (1, 3)
        waiting.cancel()
        async with asyncio.timeout(5):
            await busy.cancelled.wait()


async def test_idle_ones_take_turns() -> None:
    async with pool_of(None, None, None) as (pool, fakes):
        for _ in range(6):
            await pool.complete("m", REQUEST)
        assert [len(fake.requests) for fake in fakes] == [2, 2, 2]


async def test_a_parameter_that_was_silently_ignored_is_refused() -> None:
    async with pool_of(None) as (pool, _):
        with pytest.raises(UpstreamInvalidRequest, match="n: "):
            await pool.complete("m", orjson.dumps(orjson.loads(REQUEST) | {"n": 3}))


async def test_a_parameter_that_this_kind_of_server_ignores_goes_to_another_kind() -> None:
    asked = orjson.dumps(orjson.loads(REQUEST) | {"repetition_penalty": 1.5})
    async with FakeUpstream().serving() as llama, FakeUpstream().serving() as other:
        pool = UpstreamPool([upstream(llama.base_url, "a", server="llamacpp"), upstream(other.base_url, "b")])
        await pool.complete("m", asked)
        assert (len(llama.requests), len(other.requests)) == (0, 1)
        await pool.close()
        pool = UpstreamPool([upstream(llama.base_url, server="llamacpp")])
        for call in (pool.complete, pool.stream):
            with pytest.raises(UpstreamInvalidRequest, match="repetition_penalty: "):
                await call("m", asked)
        await pool.close()


async def test_a_server_is_asked_once_what_it_is() -> None:
    async with FakeUpstream(owned_by="llamacpp").serving() as fake:
        pool = UpstreamPool([upstream(fake.base_url, server=None)])
        await pool.complete("m", REQUEST)
        with pytest.raises(UpstreamInvalidRequest, match="repetition_penalty: "):
            await pool.complete("m", orjson.dumps(orjson.loads(REQUEST) | {"repetition_penalty": 1.5}))
        assert fake.asked_for_models == 1
        await pool.close()


async def test_a_cancelled_call_is_cancelled_upstream() -> None:
    async with pool_of(never) as (pool, [fake]):
        for call in (pool.complete, pool.stream):
            fake.cancelled.clear()
            task = asyncio.create_task(call("m", REQUEST))
            async with asyncio.timeout(5):
                while not fake.requests:
                    await asyncio.sleep(0.001)
                task.cancel()
                await fake.cancelled.wait()
            fake.requests.clear()


async def test_a_whole_answer_that_is_longer_than_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.upstream.pool.MAX_ANSWER_CHARACTERS", 100)
    async with pool_of(answering(200, COMPLETION)) as (pool, _):
        with pytest.raises(UpstreamError, match="too long"):
            await pool.complete("m", REQUEST)
