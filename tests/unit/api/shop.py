"""The whole API with billing, before the store's own accounts on fakeredis."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
from fakeredis import FakeAsyncRedis, FakeServer

from coordinator.api.app import create_app
from coordinator.api.front_door import FrontDoor
from coordinator.catalogue import Catalogue, parse
from coordinator.lifecycle.flow import Relay
from coordinator.lifecycle.keys import NewKey
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.usage import Balance, Entry
from coordinator.store.keybook import KeyBook
from coordinator.store.keyring import KeyRing
from coordinator.store.money import Purse
from coordinator.store.nodes import NodeStore
from coordinator.store.scripts import Scripts
from coordinator.store.signals import Signals
from coordinator.store.space import SpaceReader
from coordinator.store.tasks import TaskStore
from tests.fakes.relay import FakeClaims, FakeUpstreams
from tests.unit.api.conftest import CHAT, Stand, asking

USAGE, CREDITS = "/v2/customer/usage", "/v2/customer/credits"
MODEL = "relay/both"
PRICE = {"per_1m_input_tokens": "2", "per_1m_output_tokens": "3"}  # 2000 and 3000 nano-dollars a token
COST = 3 * 2000 + 2 * 3000  # of the fake upstream's answer
RICH = 10**12


def offered(*, enabled: bool) -> Catalogue:
    model = {"name": MODEL, "modes": ["direct"], "context_length": 1000, "prices": {"direct": PRICE}}
    one = {"name": "one", "base_url": "http://one.example/v1", "models": {MODEL: "x"}}
    return parse({"models": [model], "upstreams": [one], "billing": {"enabled": enabled}}, {})


@dataclass
class Shop:
    """A superkey of `acme` with nothing to spend, and an ordinary key of it."""

    app: FrontDoor
    client: httpx.AsyncClient
    upstreams: FakeUpstreams
    purse: Purse
    ring: KeyRing
    boss: str
    key: str
    key_id: str
    redis: Any

    async def ask(self, key: str | None = None, **fields: Any) -> httpx.Response:
        headers = {"X-API-Key": key or self.key}
        return await self.client.post(CHAT, headers=headers, json=asking(model=MODEL, **fields))

    async def get(self, path: str, key: str | None = None, **params: Any) -> httpx.Response:
        return await self.client.get(path, headers={"X-API-Key": key or self.boss}, params=params)

    async def charges(self) -> list[Entry]:
        return [entry for entry in await self.purse.entries("acme") if entry.kind == "charge"]

    async def balance(self) -> Balance:
        return await self.purse.balance("acme")

    async def settled(self) -> Balance:
        """Once nothing is held any more."""
        async with asyncio.timeout(5):
            while (balance := await self.balance()).held:
                await asyncio.sleep(0.005)
        return balance

    async def close(self) -> None:
        await self.client.aclose()
        await self.redis.aclose()


@cache
def standing(*, enabled: bool) -> tuple[FrontDoor, Catalogue, tuple[Stand, ...]]:
    """Built once; behind it stand relay, keys, claims, upstreams, ring, purse."""
    catalogue, stands = offered(enabled=enabled), tuple(Stand() for _ in range(6))
    relay, keys, claims, upstreams, ring, purse = stands
    app = create_app(
        relay, keys, claims, catalogue, upstreams, version="1", commit="c", ring=ring, purse=purse
    )  # fmt: skip
    return app, catalogue, stands


async def opened(*, enabled: bool) -> Shop:
    redis = FakeAsyncRedis(server=FakeServer())
    policy, upstreams = Policy(), FakeUpstreams()
    scripts, signals, ring = Scripts(redis, policy), Signals(redis), KeyRing(redis)
    relay = Relay(TaskStore(redis, scripts, policy), signals, NodeStore(redis, scripts), SpaceReader(redis), [])
    purse = Purse(redis, scripts)
    app, catalogue, stands = standing(enabled=enabled)
    behind = (relay, KeyBook(redis, catalogue.tiers), FakeClaims(), upstreams, ring, purse)
    for stand, now in zip(stands, behind, strict=True):
        stand.now = now
    boss, _ = await ring.create(NewKey("the boss", "acme", "pro", superkey=True))
    key, row = await ring.create(NewKey("a service", "acme", "pro"))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://relay")
    return Shop(app, client, upstreams, purse, ring, boss, key, row.key_id, redis)
