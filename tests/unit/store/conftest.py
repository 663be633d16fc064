"""The store's tests run here on fakeredis; tests/integration/store runs the same ones on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis

from tests.unit.store.network import Network


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    client = FakeAsyncRedis(server=FakeServer())
    yield client
    await client.aclose()


@pytest.fixture
def network(redis: Redis) -> Network:
    return Network(redis)
