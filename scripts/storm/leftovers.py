"""What should be gone from the store once everything has ended: leases, lines, users of nodes that left.

A task that ended while something of it stayed behind costs nobody an answer today, and everybody a slot tomorrow.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

PATIENCE = 20.0  # seconds: a node that fell silent with its last attempt is dead after a lease, and then cleared away
PAUSE = 0.25
_EMPTY = ("relay:leases", "relay:deadlines", "relay:lines", "relay:line-direct", "relay:patient", "relay:holds")
_NONE_OF = ("relay:held:*", "relay:open:*", "relay:line:*", "relay:wants:*")
_COUNT = {"zset": "ZCARD", "set": "SCARD", "list": "LLEN"}


async def leftovers(redis: Redis) -> list[str]:
    """Empty when all is as it was; waits for it, but not for long."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        found = [*await _keys(redis), *await _users(redis)]
        if not found or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(PAUSE)


async def _keys(redis: Redis) -> list[str]:
    names = list(_EMPTY)
    for pattern in _NONE_OF:
        names += [str(name) async for name in redis.scan_iter(pattern, count=1000)]
    found = []
    for name in names:
        kind = str(await redis.type(name))
        if kind in _COUNT and (left := await _call(redis, _COUNT[kind], name)):
            found.append(f"{left} in {name}")
    return found


async def _users(redis: Redis) -> list[str]:
    """Broker users of nodes that are not there any more."""
    alive = [str(node).lower() for node in await redis.zrange("relay:nodes", 0, -1)]
    users = [str(user) for user in await redis.acl_users() if str(user).startswith("node-")]
    return [f"user {user}" for user in users if not any(node in user.lower() for node in alive)]


async def _call(redis: Redis, *words: str) -> Any:
    return await redis.execute_command(*words)  # type: ignore[no-untyped-call]
