"""Client keys, kept as SHA-256 only: 192 random bits need no slow hash."""

from __future__ import annotations

import hashlib
import re
import secrets

from redis.asyncio import Redis

from coordinator.errors import InvalidApiKey
from coordinator.store.scripts import unavailable

_FORM = re.compile(r"^relay_sk_[A-Za-z0-9_-]{20,200}$")


def _digest(api_key: str) -> str:
    return hashlib.sha256(api_key.encode()).hexdigest()


class KeyBook:
    """Raises StoreUnavailable when Redis can't be reached."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def create(self, name: str) -> str:
        """The full key, shown this once."""
        api_key, key_id = f"relay_sk_{secrets.token_urlsafe(32)}", f"key_{secrets.token_hex(8)}"
        with unavailable():
            await self._redis.hset(
                f"relay:key:{_digest(api_key)}", mapping={"id": key_id, "name": name, "shown": f"{api_key[:20]}..."}
            )
        return api_key

    async def caller(self, api_key: str) -> str:
        """The key's public id. Raises InvalidApiKey."""
        key_id = None
        if _FORM.fullmatch(api_key):
            with unavailable():
                key_id = await self._redis.hget(f"relay:key:{_digest(api_key)}", "id")
        if key_id is None:
            raise InvalidApiKey("The API key is not known here. Check the X-API-Key or Authorization header.")
        return bytes(key_id).decode()  # type: ignore[arg-type]
