"""The laws of the store, on fakeredis; tests/integration/store tries the same on a real server."""

from __future__ import annotations

from fakeredis import FakeAsyncRedis, FakeServer
from hypothesis import settings
from redis.asyncio import Redis

from tests.unit.store.idempotency_machine import IdempotencyMachine
from tests.unit.store.machine import StoreMachine
from tests.unit.store.money_machine import MoneyMachine
from tests.unit.store.webhook_machine import WebhookMachine


class OnFake(StoreMachine):
    def connect(self) -> Redis:
        return FakeAsyncRedis(server=FakeServer())


TestStoreMachine = OnFake.TestCase
TestStoreMachine.settings = settings(max_examples=5, stateful_step_count=20, deadline=None)


class IdempotencyOnFake(IdempotencyMachine):
    def connect(self) -> Redis:
        return FakeAsyncRedis(server=FakeServer())


TestIdempotencyMachine = IdempotencyOnFake.TestCase
TestIdempotencyMachine.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)


class WebhooksOnFake(WebhookMachine):
    def connect(self) -> Redis:
        return FakeAsyncRedis(server=FakeServer())


TestWebhookMachine = WebhooksOnFake.TestCase
TestWebhookMachine.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)


class MoneyOnFake(MoneyMachine):
    def connect(self) -> Redis:
        return FakeAsyncRedis(server=FakeServer())


TestMoneyMachine = MoneyOnFake.TestCase
TestMoneyMachine.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
