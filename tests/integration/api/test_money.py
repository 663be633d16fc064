"""Two API processes, one store, one purse: a burst spends what there is and no more, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.request import urlopen

import aiohttp
import orjson
import pytest
from aiohttp import web
from pydantic import SecretStr
from redis.asyncio import Redis

from coordinator.errors import StoreUnavailable
from coordinator.lifecycle.keys import NewKey
from coordinator.lifecycle.money import dollars
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.usage import Balance, Entry
from coordinator.store.connection import connect
from coordinator.store.keyring import KeyRing
from coordinator.store.money import Purse
from coordinator.store.scripts import Scripts
from tests.fakes.upstream import COMPLETION, FakeUpstream
from tests.integration.api.conftest import CHAT
from tests.integration.api.real import need_redis
from tests.parts.ports import free_port
from tests.parts.servers import RedisServer, Server

MODEL = "relay/tiny-chat"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 5}
# The fake upstream counts more than there is, so that every call costs what was set aside for it.
COST = len(orjson.dumps(BODY)) * 2000 + 5 * 3000
RICH = 10**12
CATALOGUE = """
[billing]
enabled = true
[[models]]
name = "{model}"
modes = ["direct"]
context_length = 1000
[models.prices.direct]
per_1m_input_tokens = "2"
per_1m_output_tokens = "3"
[[upstreams]]
name = "one"
base_url = "{upstream}"
answer_seconds = {patience}
silence_seconds = 1
[upstreams.models]
"{model}" = "{model}"
"""


async def greedy(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(0.05)
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello, hello!"}, "finish_reason": "length"}
    usage = {"prompt_tokens": 10**9, "completion_tokens": 5}
    return web.json_response({**COMPLETION, "choices": [choice], "usage": usage})


@dataclass
class Shop:
    redis_server: RedisServer
    apis: list[Server]
    bases: list[str]
    redis: Redis
    purse: Purse
    http: aiohttp.ClientSession

    async def key_for(self, calls: int) -> tuple[str, str]:
        """A key whose budget is enough for so many calls, and nearly for one more."""
        new = NewKey("a service", "acme", "max", superkey=True, budget_nano=calls * COST + COST - 1)
        key, row = await KeyRing(self.redis).create(new)
        return key, row.key_id

    async def ask(self, number: int, key: str) -> tuple[int, Any]:
        """0 for a call whose process died."""
        try:
            url = self.bases[number % len(self.bases)] + CHAT
            async with self.http.post(url, json=BODY, headers={"X-API-Key": key}) as reply:
                return reply.status, await reply.json()
        except aiohttp.ClientError:
            return 0, None

    async def charges(self) -> list[Entry]:
        return [entry for entry in await self.purse.entries("acme") if entry.kind == "charge"]

    async def settled(self) -> Balance:
        """Once nothing is held any more."""
        async with asyncio.timeout(60):
            while True:
                try:
                    if not (balance := await self.purse.balance("acme")).held:
                        return balance
                except StoreUnavailable:
                    pass
                await asyncio.sleep(0.1)


@pytest.fixture
async def shop(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """`param`: how many seconds the upstream has, which answers from this very process, busy as it is."""
    need_redis()
    async with FakeUpstream(greedy).serving() as upstream:
        catalogue = tmp_path / "relay.toml"
        catalogue.write_text(
            CATALOGUE.format(model=MODEL, upstream=upstream.base_url, patience=getattr(request, "param", 60))
        )
        server = RedisServer(tmp_path / "redis")
        server.start()
        settings = {
            "RELAY_REDIS_URL": server.url, "RELAY_CATALOGUE": str(catalogue),
            "RELAY_TASK_TIMEOUT_SECONDS": "5", "RELAY_LEASE_SECONDS": "2", "RELAY_HEARTBEAT_SECONDS": "0.5",
        }  # fmt: skip
        ports = [free_port(), free_port()]
        apis = [_api(port, settings, tmp_path / f"api-{port}.log") for port in ports]
        redis = connect(SecretStr(server.url))
        purse = Purse(redis, Scripts(redis, Policy()))
        try:
            for api in apis:
                api.start()
            await purse.credit("acme", RICH)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
                yield Shop(server, apis, [f"http://127.0.0.1:{port}" for port in ports], redis, purse, http)
        finally:
            await redis.aclose()
            for running in (*apis, server):
                running.kill()


def _api(port: int, settings: dict[str, str], log: Path) -> Server:
    words = [f"{name}={value}" for name, value in {**settings, "RELAY_PORT": str(port)}.items()]

    def answers() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{port}/v2/health", timeout=1) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    return Server(lambda: ["/usr/bin/env", *words, sys.executable, "-m", "coordinator", "api"], answers, log)


async def test_1000_requests_on_a_budget_for_100(shop: Shop) -> None:
    key, key_id = await shop.key_for(100)
    replies = await asyncio.gather(*(shop.ask(number, key) for number in range(1000)))
    told = Counter((status, body["error"]["code"] if status != 200 else "") for status, body in replies)
    assert told == {(200, ""): 100, (402, "KEY_BUDGET_EXHAUSTED"): 900}
    charges = await shop.charges()
    assert {entry.task_id for entry in charges} == {body["task_id"] for status, body in replies if status == 200}
    assert [entry.nano for entry in charges] == [COST] * 100
    assert await shop.purse.balance("acme") == Balance(RICH, RICH - 100 * COST, 0, 100 * COST)
    budget = await shop.purse.budget(key_id)
    assert (budget.held, budget.spent) == (0, 100 * COST)
    async with shop.http.get(f"{shop.bases[0]}/v2/customer/usage", headers={"X-API-Key": key}) as reply:
        total = (await reply.json())["total"]
    assert (total["requests"], total["cost"]) == (100, dollars(100 * COST))


@pytest.mark.parametrize("shop", [4], indirect=True, ids=["4 s"])  # what a dead process held is let go after 13
@pytest.mark.parametrize("victim", ["api", "redis"])
async def test_the_ledger_adds_up_after_kill_9(shop: Shop, victim: Literal["api", "redis"]) -> None:
    key, key_id = await shop.key_for(200)
    asking = [asyncio.create_task(shop.ask(number, key)) for number in range(400)]
    async with asyncio.timeout(60):
        while not any(call.done() and call.result()[0] == 200 for call in asking):
            await asyncio.sleep(0.005)
    if victim == "redis":
        shop.redis_server.kill()
        shop.redis_server.start()
    else:
        shop.apis[0].kill()
    replies = await asyncio.gather(*asking)
    balance, charges = await shop.settled(), await shop.charges()
    charged = Counter(entry.task_id for entry in charges)
    answered = [body["task_id"] for status, body in replies if status == 200]
    assert all(charged[task] == 1 for task in answered), "answered and not charged once"
    assert max(charged.values()) == 1
    assert balance == Balance(RICH, RICH - len(charges) * COST, 0, len(charges) * COST)
    assert sum(entry.nano for entry in charges) == balance.spent
    budget = await shop.purse.budget(key_id)
    assert (budget.held, budget.spent) == (0, balance.spent)
    # what the dead let go of can be spent: exactly that
    left = 200 - len(charges)
    more = await asyncio.gather(*(shop.ask(1, key) for _ in range(left + 5)))
    assert Counter(status for status, _ in more) == Counter({200: left, 402: 5})
    assert len(await shop.charges()) == 200
