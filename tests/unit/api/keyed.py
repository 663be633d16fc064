"""The API with real keys and limits: the store's own, on fakeredis, behind the whole application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis

from coordinator.api.app import create_app
from coordinator.api.credentials import Network, Origins
from coordinator.api.front_door import FrontDoor
from coordinator.api.webhooks import Webhooks
from coordinator.catalogue import parse
from coordinator.lifecycle.keys import NewKey, Restrictions
from coordinator.lifecycle.policy import Policy
from coordinator.store.keybook import KeyBook
from coordinator.store.keyring import KeyRing
from coordinator.store.scripts import Scripts
from coordinator.store.signals import Signals
from coordinator.store.webhooks import WebhookStore
from coordinator.webhooks.signing import new_secret
from coordinator.webhooks.submitting import Targets
from tests.fakes.relay import FakeClaims, FakeRelay, FakeUpstreams
from tests.fakes.upstream import ANSWER
from tests.fakes.webhooks import FakeNames
from tests.unit.api.conftest import CATALOGUE, CHAT, Stand, asking, catalogue

KEYS = "/v2/customer/keys"
SUPER = NewKey("the boss", "acme", "pro", superkey=True)
Tables = Mapping[str, Mapping[str, Any]]


@dataclass
class Keyed:
    """`keys`: a superkey of `acme` and an ordinary key of its own, in full."""

    redis: Redis
    ring: KeyRing
    client: httpx.AsyncClient
    relay: FakeRelay
    upstreams: FakeUpstreams
    superkey: str
    ordinary: str

    async def manage(self, method: str, path: str = "", *, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {"X-API-Key": key or self.superkey}
        return await self.client.request(method, f"{KEYS}{path}", headers=headers, **more)

    async def made(self, **body: Any) -> dict[str, Any]:
        reply = await self.manage("POST", json={"name": "a key", **body})
        assert reply.status_code == 201, reply.text
        row: dict[str, Any] = reply.json()
        return row

    async def ask(self, key: str | None = None, headers: Mapping[str, str] = {}, **fields: Any) -> httpx.Response:
        credentials = {"Authorization": f"Bearer {key}"} if key else {}
        return await self.client.post(CHAT, json=asking(**fields), headers={**credentials, **headers})


@asynccontextmanager
async def keyed(
    tiers: Tables | None = None, trusted: tuple[Network, ...] = (), peer: str = "192.0.2.1"
) -> AsyncIterator[Keyed]:
    redis = FakeAsyncRedis(server=FakeServer())
    known = parse_tiers(tiers or {})
    ring, relay, upstreams = KeyRing(redis), FakeRelay(at_once=ANSWER), FakeUpstreams()
    deliveries = WebhookStore(Scripts(redis, Policy()), Signals(redis), new_secret)
    app, stands = standing(known, trusted)
    behind = (relay, KeyBook(redis, known), FakeClaims(), upstreams, ring, deliveries)
    for stand, now in zip(stands, behind, strict=True):
        stand.now = now
    superkey, _ = await ring.create(SUPER)
    ordinary, _ = await ring.create(NewKey("a service", "acme", "basic"))
    transport = httpx.ASGITransport(app, client=(peer, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
        yield Keyed(redis, ring, client, relay, upstreams, superkey, ordinary)
    await redis.aclose()


_STANDING: dict[str, tuple[FrontDoor, tuple[Stand, ...]]] = {}


def standing(tiers: Any, trusted: tuple[Network, ...]) -> tuple[FrontDoor, tuple[Stand, ...]]:
    """An app of these tiers, built once; behind it stand relay, keys, claims, upstreams, ring, deliveries."""
    asked = repr((tiers, trusted))
    if asked not in _STANDING:
        stands = tuple(Stand() for _ in range(6))
        relay, keys, claims, upstreams, ring, deliveries = stands
        app = create_app(
            relay, keys, claims, replace(catalogue(), tiers=tiers), upstreams, version="1", commit="c", ring=ring,
            origins=Origins(trusted), webhooks=Webhooks(Targets(FakeNames(), allow_private=False), deliveries),
        )  # fmt: skip
        _STANDING[asked] = app, stands
    return _STANDING[asked]


def parse_tiers(tiers: Tables) -> Any:
    models = [model | {"prices": {mode: PRICE for mode in model["modes"]}} for model in CATALOGUE["models"]]
    return parse(CATALOGUE | {"models": models, "tiers": tiers}, {}).tiers


PRICE = {"per_1m_input_tokens": "1", "per_1m_output_tokens": "1"}
__all__ = ["CHAT", "KEYS", "Keyed", "Restrictions", "keyed"]
