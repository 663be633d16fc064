"""What the store must have been told, looked at when an API process starts: law 3 hangs on it, and Redis says nothing.

A warning and no refusal: an operator may know better (a replica that is always in step, a clock set at leisure).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

log = structlog.get_logger(__name__)

_WANTED = {
    "appendonly": ("yes", "without the append-only file a restart forgets tasks and money"),
    "appendfsync": ("always", "what was answered 200 or 202 may be lost with the last second"),
    "maxmemory-policy": ("noeviction", "a full store would forget tasks instead of refusing new ones"),
}
_NO_FILE = "without it a restart forgets the nodes' users, and every node signs in anew"
_OPEN = "user default has no password: whoever reaches Redis may read prompts and change balances"
# Signed requests of nodes are good for 60 s by this machine's clock, leases run by Redis's.
_CLOCK_MS = 5_000
_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Concern:
    """`setting`: of redis.conf, or what else is to be set; `why`: what follows of it as it is."""

    setting: str
    why: str


async def concerns(redis: Redis) -> list[Concern]:
    """Raises RedisError; ResponseError where Redis doesn't show its settings (managed ones)."""
    found = []
    for name, (wanted, why) in _WANTED.items():
        if (await redis.config_get(name)).get(name) != wanted:
            found.append(Concern(f"{name} {wanted}", why))
    if not (await redis.config_get("aclfile")).get("aclfile"):
        found.append(Concern("aclfile", _NO_FILE))
    if not await _asks_for_a_password(redis):
        found.append(Concern("user default on >password ~* &* +@all, in the aclfile", _OPEN))
    return found


async def _asks_for_a_password(redis: Redis) -> bool:
    users = [bytes(line).split() for line in await redis.execute_command("ACL", "LIST")]  # type: ignore[no-untyped-call]
    return not any(user[1] == b"default" and {b"on", b"nopass"} <= set(user) for user in users)


async def clock_off_ms(redis: Redis) -> int:
    """This machine's clock minus Redis's. Raises RedisError."""
    before = time.time()
    seconds, micros = await redis.time()
    return round(((before + time.time()) / 2 - seconds - micros / 1e6) * 1000)


class Inspection:
    """Looks once, as soon as Redis answers, and says in the log what it finds."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def run(self) -> None:
        while True:
            try:
                return await self._look()
            except (RedisError, OSError):
                await asyncio.sleep(_AGAIN_S)  # that it is down is said by whoever needs it

    async def _look(self) -> None:
        off = await clock_off_ms(self._redis)
        if abs(off) > _CLOCK_MS:
            log.warning("clock_off_store", off_ms=off, remedy="set this machine's clock and Redis's by NTP")
        try:
            for concern in await concerns(self._redis):
                log.warning("store_setting", wants=concern.setting, why=concern.why)
        except ResponseError:
            log.info("store_settings_unseen", remedy="coordinator/README.md says what Redis, which hides them, needs")
