"""Challenges, which the store does not keep: anybody may ask for one in a node's name, as often as he likes.

{when it was given, ms, 12 hex}{random, 20 hex}{HMAC-SHA256 of the node's address and both, 64 hex}

The key of the HMAC is the store's, so all API processes know each other's; a used one is remembered for as long as it
would be good (session.lua), which costs a signature of an admitted node.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Final

from redis.asyncio import Redis

from coordinator.store.scripts import milliseconds, unavailable

CHALLENGE_LIFE: Final = timedelta(seconds=60)
_KEY: Final = "relay:challenge_key"
_TIME_DIGITS, _SAID_DIGITS = 12, 32


class Challenges:
    """Raises StoreUnavailable when Redis can't be reached."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def new(self, node: str, ago: timedelta = timedelta(0)) -> str:
        """`ago`: as if it had been given then."""
        key, now_ms = await self._key()
        said = f"{now_ms - milliseconds(ago):0{_TIME_DIGITS}x}{secrets.token_hex(10)}"
        return said + _mark(key, node, said)

    async def good_until(self, node: str, challenge: str) -> int | None:
        """Unix milliseconds of the store's clock; None for one that was never given to this node."""
        key, _ = await self._key()
        said = challenge[:_SAID_DIGITS]
        if not hmac.compare_digest((said + _mark(key, node, said)).encode(), challenge.encode()):
            return None
        return int(said[:_TIME_DIGITS], 16) + milliseconds(CHALLENGE_LIFE)

    async def _key(self) -> tuple[bytes, int]:
        """And the time, in unix milliseconds."""
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            pipe.get(_KEY)
            pipe.time()
            key, (seconds, micros) = await pipe.execute()
            if key is None:
                await self._redis.set(_KEY, secrets.token_hex(32), nx=True)
                key = await self._redis.get(_KEY)
        return key, seconds * 1000 + micros // 1000


def _mark(key: bytes, node: str, said: str) -> str:
    return hmac.new(key, f"{node}\n{said}".encode(), hashlib.sha256).hexdigest()
