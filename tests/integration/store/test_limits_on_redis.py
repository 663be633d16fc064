"""Limits on a real Redis: the same law, under real concurrency, and no write to the disk."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from coordinator.errors import RateLimited
from coordinator.lifecycle.caller import Caller, Credential
from coordinator.lifecycle.keys import NewKey
from coordinator.store.connection import connect
from coordinator.store.keyring import KeyRing
from tests.parts.servers import RedisServer
from tests.unit.store.limiter import Limits
from tests.unit.store.network import Network
from tests.unit.store.test_limiter import *  # noqa: F403
from tests.unit.store.test_together import *  # noqa: F403

LIMITS_OF_20 = Limits(20, 20, 30)
GUEST = Credential(None, "192.0.2.1")


async def test_racing_processes_get_exactly_the_limit(network: Network, redis_server: RedisServer) -> None:
    clients = [connect(SecretStr(redis_server.url)) for _ in range(2)]
    books = [LIMITS_OF_20.book(client) for client in clients]

    async def admitted(number: int) -> bool:
        try:
            await books[number % 2].admit(GUEST, {"direct": "x"})
        except RateLimited:
            return False
        return True

    assert sum(await asyncio.gather(*(admitted(number) for number in range(100)))) == 20
    for client in clients:
        await client.aclose()


async def test_counting_a_request_waits_for_no_disk_and_a_restart_forgets_the_minute_but_no_key(
    network: Network, redis_server: RedisServer
) -> None:
    book, ring = LIMITS_OF_20.book(network.redis), KeyRing(network.redis)
    full, row = await ring.create(NewKey("laptop", "acme", "basic"))
    key = Credential(full, "")
    await book.admit(key, {"direct": "x"})  # the first one brings the script there, and that is written
    before = await _appended(network)
    for _ in range(19):
        await book.admit(GUEST, {"direct": "x"})
        await book.admit(key, {"direct": "x"})
    assert await _appended(network) == before
    await book.admit(GUEST, {"direct": "x"})
    with pytest.raises(RateLimited):
        await book.admit(GUEST, {"direct": "x"})
    redis_server.kill()
    redis_server.start()
    caller: Caller = (await book.admit(key, {"direct": "x"})).caller
    assert caller.key_id == row.key_id
    await book.admit(GUEST, {"direct": "x"})


async def test_a_request_is_one_round_trip(network: Network, redis_server: RedisServer) -> None:
    book = LIMITS_OF_20.book(network.redis)
    await book.admit(GUEST, {"direct": "x"})  # the first one brings the script there
    before = await _sent(network)
    for _ in range(5):
        await book.admit(GUEST, {"direct": "x", "opengpu": "y"})
    assert await _sent(network) - before == 5


async def _appended(network: Network) -> int:
    return int((await network.redis.info("persistence"))["aof_current_size"])


async def _sent(network: Network) -> int:
    """Scripts that clients have had run: what those call themselves isn't counted."""
    return int((await network.redis.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0))
