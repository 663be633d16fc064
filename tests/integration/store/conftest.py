"""The store's tests once more, on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from coordinator.store.connection import connect
from tests.parts.servers import RedisServer
from tests.unit.store.network import Network


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = connect(SecretStr(redis_server.url))
    yield client
    await client.aclose()


@pytest.fixture
def network(redis: Redis) -> Network:
    return Network(redis)


@pytest.fixture
def fresh(redis: Redis) -> Callable[[], Awaitable[Network]]:
    async def made() -> Network:
        await redis.flushall()
        return Network(redis)

    return made


@pytest.fixture
def flood() -> int:
    """Tasks that one client has in line, where another's wait is counted."""
    return 10_000
