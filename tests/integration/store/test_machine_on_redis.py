"""The store's other state machines on a real server."""

from __future__ import annotations

import pytest

from tests.integration.store.on_redis import hold
from tests.parts.servers import RedisServer
from tests.unit.store.idempotency_machine import IdempotencyMachine
from tests.unit.store.money_machine import MoneyMachine
from tests.unit.store.webhook_machine import WebhookMachine

pytestmark = pytest.mark.timeout(600)


def test_the_law_of_idempotency_on_real_redis(redis_server: RedisServer) -> None:
    hold(IdempotencyMachine, redis_server, examples=60)


def test_the_law_of_webhooks_on_real_redis(redis_server: RedisServer) -> None:
    hold(WebhookMachine, redis_server, examples=25, steps=30)


def test_the_law_of_money_on_real_redis(redis_server: RedisServer) -> None:
    hold(MoneyMachine, redis_server, examples=30)
