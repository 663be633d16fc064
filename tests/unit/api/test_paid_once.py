"""Money beside Idempotency-Keys and cancelled tasks: what is answered once is charged once, what is cancelled never."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from coordinator.api.app import create_app
from coordinator.errors import UpstreamError
from coordinator.lifecycle.flow import Relay
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.usage import Balance
from coordinator.store.idempotency import IdempotencyClaims
from coordinator.store.keybook import KeyBook
from coordinator.store.nodes import NodeStore
from coordinator.store.scripts import Scripts
from coordinator.store.signals import Signals
from coordinator.store.space import SpaceReader
from coordinator.store.tasks import TaskStore
from tests.fakes.upstream import ANSWER
from tests.unit.api.conftest import CHAT, asking
from tests.unit.api.shop import COST, MODEL, RICH, Shop, offered, opened


class PaidOnce:
    """A shop with real claims."""

    def __init__(self, shop: Shop) -> None:
        self.shop, policy, catalogue = shop, Policy(), offered(enabled=True)
        scripts, signals = Scripts(shop.redis, policy), Signals(shop.redis)
        store, nodes = TaskStore(shop.redis, scripts, policy), NodeStore(shop.redis, scripts)
        relay = Relay(store, signals, nodes, SpaceReader(shop.redis), [])
        app = create_app(
            relay, KeyBook(shop.redis, catalogue.tiers), IdempotencyClaims(scripts, signals), catalogue, shop.upstreams,
            version="1", commit="c", ring=shop.ring, purse=shop.purse,
        )  # fmt: skip
        headers = {"X-API-Key": shop.key}
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://relay", headers=headers)

    async def ask(self, asynchronous: bool = False) -> httpx.Response:
        body = asking(model=MODEL, asynchronous=asynchronous)
        return await self.client.post(CHAT, json=body, headers={"Idempotency-Key": "k"})


@pytest.fixture
async def paid() -> AsyncIterator[PaidOnce]:
    shop = await opened(enabled=True)
    yield (paid := PaidOnce(shop))
    await paid.client.aclose()
    await shop.client.aclose()
    await shop.redis.aclose()


async def test_a_replay_costs_nothing(paid: PaidOnce) -> None:
    await paid.shop.purse.credit("acme", RICH)
    replies = [await paid.ask() for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200] * 3
    assert await paid.shop.balance() == Balance(RICH, RICH - COST, 0, COST)
    assert len(await paid.shop.charges()) == len(paid.shop.upstreams.calls) == 1


async def test_who_could_not_pay_may_retry_once_he_can(paid: PaidOnce) -> None:
    assert [(await paid.ask()).status_code for _ in range(2)] == [402, 402]
    await paid.shop.purse.credit("acme", RICH)
    assert (await paid.ask()).status_code == 200
    assert (await paid.shop.balance()).spent == COST


async def test_a_failure_and_its_retry_cost_the_retry(paid: PaidOnce) -> None:
    await paid.shop.purse.credit("acme", RICH)
    paid.shop.upstreams.outcome = UpstreamError("It broke.")
    assert (await paid.ask()).status_code == 502
    paid.shop.upstreams.outcome = ANSWER
    assert (await paid.ask()).status_code == 200
    assert await paid.shop.balance() == Balance(RICH, RICH - COST, 0, COST)


async def test_a_cancelled_task_costs_nothing(paid: PaidOnce) -> None:
    await paid.shop.purse.credit("acme", RICH)
    task_id = (await paid.ask(asynchronous=True)).json()["task_id"]
    assert (await paid.shop.balance()).held > 0
    assert (await paid.client.post(f"/v2/tasks/{task_id}/cancel")).json()["error_code"] == "TASK_CANCELED"
    assert await paid.shop.balance() == Balance(RICH, RICH, 0, 0)
    assert (await paid.ask(asynchronous=True)).json()["task_id"] == task_id
    assert await paid.shop.balance() == Balance(RICH, RICH, 0, 0)
