"""The store's other state machines on a real server, a database of which is emptied for every example."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from pydantic import SecretStr
from redis.asyncio import Redis

from coordinator.store.connection import connect
from tests.parts.servers import RedisServer
from tests.unit.store.idempotency_machine import IdempotencyMachine
from tests.unit.store.money_machine import MoneyMachine
from tests.unit.store.webhook_machine import WebhookMachine


def test_the_law_of_idempotency_on_real_redis(redis_server: RedisServer) -> None:
    class OnRedis(IdempotencyMachine):
        def connect(self) -> Redis:
            return connect(SecretStr(redis_server.url))

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        OnRedis,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_the_law_of_webhooks_on_real_redis(redis_server: RedisServer) -> None:
    class OnRedis(WebhookMachine):
        def connect(self) -> Redis:
            return connect(SecretStr(redis_server.url))

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        OnRedis,
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_the_law_of_money_on_real_redis(redis_server: RedisServer) -> None:
    class OnRedis(MoneyMachine):
        def connect(self) -> Redis:
            return connect(SecretStr(redis_server.url))

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        OnRedis,
        settings=settings(
            max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
