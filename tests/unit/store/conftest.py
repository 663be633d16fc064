"""The store's tests run here on fakeredis; tests/integration/store runs the same ones on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

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


@pytest.fixture
def fresh(redis: Redis) -> Callable[[], Awaitable[Network]]:
    """A network of which nothing has been seen yet, after another one."""

    async def made() -> Network:
        await redis.flushall()
        return Network(redis)

    return made


@pytest.fixture
def flood() -> int:
    """Tasks that one client has in line, where another's wait is counted: 10,000 on a real server, the fake is slow."""
    return 300
