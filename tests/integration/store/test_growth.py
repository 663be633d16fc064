"""What scripts do for a heartbeat or a task doesn't grow with the number of nodes: in counts, as MONITOR shows them.

The CPU of it is what `scripts/bench nodes` measures.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from coordinator.lifecycle.policy import Policy
from tests.parts.servers import RedisServer
from tests.unit.store.network import Network, node_address

FEW, MANY = 8, 128
# On a busy machine no lease ends meanwhile: the sweep that is counted would find all of them.
UNHURRIED = Policy(lease=timedelta(hours=1), heartbeat=timedelta(minutes=30))
WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')
# Lists that are as long as there are nodes: a script may look one up, add one, and take a few off an end.
OF_NODES = ("relay:nodes", "relay:serving:", "relay:free:", "relay:users", "relay:gpu")
WHOLE = {"SMEMBERS", "HGETALL", "HKEYS", "HVALS", "SUNION", "SINTER", "SDIFF", "SORT", "KEYS", "SCAN", "SSCAN", "ZSCAN"}


class Seen:
    """Commands that scripts called, since `begin`."""

    def __init__(self, reader: asyncio.StreamReader, redis: Redis) -> None:
        self._reader, self._redis = reader, redis

    async def calls(self) -> list[list[str]]:
        """All until now."""
        marker, found = secrets.token_hex(8), []
        await self._redis.echo(marker)
        while marker not in (line := (await self._reader.readline()).decode()):
            if " lua] " in line:
                found.append(WORD.findall(line))
        return found


@asynccontextmanager
async def monitor(server: RedisServer, redis: Redis) -> AsyncIterator[Seen]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.redis.port, limit=2**20)
    writer.write(f"AUTH {server.redis.secret}\r\nMONITOR\r\n".encode())
    for _ in range(2):
        assert await reader.readline() == b"+OK\r\n"
    try:
        yield Seen(reader, redis)
    finally:
        writer.transport.abort()


def reads_all_nodes(call: list[str]) -> bool:
    name, keys = call[0].upper(), [word for word in call[1:] if word.startswith(OF_NODES)]
    if not keys:
        return name in ("KEYS", "SCAN")
    if name in ("ZRANGE", "ZREVRANGE"):
        return call[3] == "-1"
    if name in ("ZRANGEBYSCORE", "ZREVRANGEBYSCORE"):
        return "LIMIT" not in [word.upper() for word in call]
    return name in WHOLE


@pytest.mark.parametrize(
    ("call", "whole"),
    [
        ("SMEMBERS relay:serving:m", True),
        ("ZRANGE relay:free:m 0 -1", True),
        ("ZRANGE relay:free:m 0 15", False),
        ("ZRANGEBYSCORE relay:nodes -inf 5", True),
        ("ZRANGEBYSCORE relay:nodes -inf 5 LIMIT 0 100", False),
        ("KEYS relay:node:*", True),
        ("SCARD relay:serving:m", False),
        ("SMEMBERS relay:held:0xab", False),
    ],
)
def test_what_reads_all_nodes(call: str, whole: bool) -> None:
    assert reads_all_nodes(call.split()) is whole


async def life(network: Network, count: int, seen: Seen) -> dict[str, list[list[str]]]:
    """Of a network of `count` nodes of one slot each: what each step made the scripts call."""
    steps: dict[str, list[list[str]]] = {}
    nodes = [await network.sign_in(number, slots=1) for number in range(1, count + 1)]
    await seen.calls()

    async def step(name: str, did: Awaitable[object]) -> object:
        done = await did
        steps[name] = await seen.calls()
        return done

    async def holder(attempt: str) -> str:
        node = await network.redis.hget(f"relay:task:{attempt.partition('#')[0]}", "node")
        assert node is not None
        return node.decode()

    await step("an idle node's heartbeat", network.beat(nodes[0]))
    first = await step("a task for a free node", network.submit())
    on = await holder(f"{first}#1")
    await seen.calls()
    await step("its report", network.complete(f"{first}#1", on))
    held = [f"{await network.submit()}#1" for _ in nodes]
    await seen.calls()
    waiting = await step("a task that waits", network.submit())
    on = await holder(held[0])
    await step("a busy node's heartbeat", network.beat(on, held[0]))
    await step("a report that frees a slot for it", network.complete(held[0], on))
    await step("its lost lease", network.end_lease(f"{waiting}#1"))
    await step("a sweep", network.tasks.sweep())
    await step("a sign-in", network.sign_in(count + 1, slots=1))
    await step("a leave", network.leave(node_address(count + 1)))
    return steps


async def test_no_script_does_more_where_there_are_more_nodes(
    redis: Redis, redis_server: RedisServer, fresh: Callable[[], Awaitable[Network]]
) -> None:
    async with monitor(redis_server, redis) as seen:
        few = await life(replace(await fresh(), policy=UNHURRIED), FEW, seen)
        many = await life(replace(await fresh(), policy=UNHURRIED), MANY, seen)
    assert all(few.values())
    grown = {name: (len(few[name]), len(many[name])) for name in few if len(many[name]) > 1.2 * len(few[name]) + 4}
    assert not grown, grown
    assert not [(name, call[:4]) for name, calls in many.items() for call in calls if reads_all_nodes(call)]
