"""A state machine of the store on a real server, a database of which is emptied for every example."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from pydantic import SecretStr
from redis.asyncio import Redis

from coordinator.store.connection import connect
from tests.parts.servers import RedisServer


def hold(machine: Any, server: RedisServer, *, examples: int, steps: int = 40) -> None:
    """Fails when the machine's law does not hold."""

    class OnRedis(machine):
        def connect(self) -> Redis:
            return connect(SecretStr(server.url))

    tries = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(OnRedis, settings=tries)  # type: ignore[no-untyped-call]
