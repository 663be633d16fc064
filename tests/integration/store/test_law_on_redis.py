"""The law of tasks on a real server, emptied for every example. In a file of its own: files run side by side."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from pydantic import SecretStr
from redis.asyncio import Redis

from coordinator.store.connection import connect
from tests.parts.servers import RedisServer
from tests.unit.store.machine import StoreMachine


def test_the_law_on_real_redis(redis_server: RedisServer) -> None:
    class OnRedis(StoreMachine):
        def connect(self) -> Redis:
            return connect(SecretStr(redis_server.url))

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        OnRedis,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
