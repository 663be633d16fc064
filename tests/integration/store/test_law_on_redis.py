"""The law of tasks on a real server. In a file of its own: files run side by side."""

from __future__ import annotations

import pytest

from tests.integration.store.on_redis import hold
from tests.parts.servers import RedisServer
from tests.unit.store.machine import StoreMachine


@pytest.mark.timeout(900)  # all of it is work: minutes on a busy machine
def test_the_law_on_real_redis(redis_server: RedisServer) -> None:
    hold(StoreMachine, redis_server, examples=60)
