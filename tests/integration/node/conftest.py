"""A real Redis with one node's user on it, and the network around a node's process."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from eth_keys.datatypes import PrivateKey

from node.identity import Identity
from tests.fakes.backend import BackendHttp
from tests.fakes.coordinator_http import CoordinatorHttp
from tests.integration.node.broker import Broker
from tests.integration.node.processes import PROMPT, Network
from tests.parts.servers import RedisServer


@pytest.fixture
def broker(redis_server: RedisServer) -> Broker:
    return Broker(redis_server, Identity.of(PrivateKey(secrets.token_bytes(32))))


@pytest.fixture
def heartbeat_ms() -> int:
    return 100


@pytest.fixture
async def network(tmp_path: Path, broker: Broker, heartbeat_ms: int) -> AsyncIterator[Network]:
    async with CoordinatorHttp(broker.grant, heartbeat_ms=heartbeat_ms) as coordinator, BackendHttp() as backend:
        made = Network(tmp_path, broker, coordinator, backend)
        yield made
        for node in made.started:
            node.kill()


@pytest.fixture(autouse=True)
def _nothing_private_in_any_log(tmp_path: Path) -> Iterator[None]:
    yield
    for path in tmp_path.glob("node-*.log"):
        written = path.read_text()
        assert PROMPT not in written
        assert "Traceback" not in written
        assert "redis://node:" not in written
