"""What tests/unit/store asks of the outbox, asked of a real Redis."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from tests.fakes.chain_benches import Bench, RedisBench
from tests.unit.store.test_outbox import *  # noqa: F403


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return RedisBench(redis)
