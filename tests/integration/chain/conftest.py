"""A chain with the contracts on it for every test, and a Redis where one is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from coordinator.store.connection import connect
from tests.fakes.chain_benches import RedisBench
from tests.integration.chain.network import AnvilNetwork, Line
from tests.parts.servers import Anvil, RedisServer


@pytest.fixture
async def network(anvil: Anvil, tmp_path: Path) -> AsyncIterator[AnvilNetwork]:
    network = AnvilNetwork(anvil, tmp_path / "chain.key")
    await network.deploy()
    yield network
    await network.close()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = connect(SecretStr(redis_server.url))
    yield client
    await client.aclose()


@pytest.fixture
async def line(network: AnvilNetwork, redis: Redis) -> AsyncIterator[Line]:
    """Not started yet."""
    line = Line(network, RedisBench(redis, remembered=1000))
    yield line
    await line.stop()
