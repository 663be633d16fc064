"""The law of limits (limiter.py)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import pytest
from hypothesis import given
from redis.asyncio import Redis

from coordinator.errors import RateLimited
from coordinator.lifecycle.caller import Credential
from tests.unit.store.limiter import LIMITS, STEPS, Limits, Step, run


@given(limits=LIMITS, steps=STEPS)
async def test_no_window_holds_more_than_the_limit_and_nobody_starves(
    redis: Redis, limits: Limits, steps: Sequence[Step]
) -> None:
    await run(redis, limits, steps, Credential(None, secrets.token_hex(8)))


async def test_a_burst_of_the_whole_limit_then_one_each_interval(redis: Redis) -> None:
    book, caller = Limits(5, 5, 5).book(redis), Credential(None, "192.0.2.1")
    for _ in range(5):
        await book.admit(caller, {"direct": "x"})
    for _ in range(7):
        with pytest.raises(RateLimited):
            await book.admit(caller, {"direct": "x"})
        for bucket in (b"direct", b"global"):
            await redis.hincrby("relay:tat:guest:192.0.2.1", bucket, -12_000_000)
        await book.admit(caller, {"direct": "x"})
