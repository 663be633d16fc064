"""One script for many callers at once: each gets his own answer, or his own failure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from coordinator.errors import StoreUnavailable
from coordinator.store.together import Together

ECHO = "if ARGV[1] == 'bad' then return redis.error_reply('ERR bad') end redis.call('INCR', 'asked') return ARGV[1]"


@pytest.fixture
def together(redis: Redis) -> Together:
    return Together(redis, ECHO)


async def test_everybody_gets_his_own(redis: Redis, together: Together) -> None:
    said = await asyncio.gather(*(together.ask(str(number)) for number in range(200)))
    assert said == [str(number).encode() for number in range(200)]
    assert await redis.get("asked") == b"200"


async def test_a_script_that_fails_fails_for_its_caller_alone(together: Together) -> None:
    said = await asyncio.gather(*(together.ask(word) for word in ("a", "bad", "c")), return_exceptions=True)
    assert (said[0], said[2]) == (b"a", b"c")
    assert isinstance(said[1], ResponseError)
    with pytest.raises(ResponseError):
        await together.ask("bad")
    assert await together.ask("d") == b"d"


async def test_a_store_that_has_forgotten_the_script_is_told_it_again(redis: Redis, together: Together) -> None:
    for callers in (1, 5):
        await redis.script_flush()
        assert len(await asyncio.gather(*(together.ask("x") for _ in range(callers)))) == callers


async def test_who_has_gone_holds_nobody_up(together: Together) -> None:
    asking = [asyncio.create_task(together.ask(str(number))) for number in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    asking[3].cancel()
    said = await asyncio.gather(*asking, return_exceptions=True)
    assert [one for one in said if isinstance(one, bytes)] == [b"1", b"2", b"4"]


async def test_a_store_that_is_away_is_said_to_all(
    redis: Redis, together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*arguments: Any, **more: Any) -> None:
        raise RedisConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(redis.connection_pool, "get_connection", away)
        said = await asyncio.gather(*(together.ask("x") for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in said] == [StoreUnavailable] * 3
    assert await together.ask("x") == b"x"
