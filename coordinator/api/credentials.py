"""Who calls: a key's owner, or a guest. A bad key is refused, never taken for a guest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from coordinator.api.ports import KeyBook
from coordinator.errors import InvalidApiKey

GUEST: Final = "guest"
Headers = Iterable[tuple[bytes, bytes]]


def api_key(headers: Headers) -> str | None:
    """The key that was sent: X-API-Key wins over Authorization. Raises InvalidApiKey for what can't be one."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization":
            bearer = value.decode("latin-1")
    if bearer is None:
        return None
    scheme, _, token = bearer.partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidApiKey("The Authorization header must read: Bearer relay_sk_…")
    return token.strip()


async def caller(headers: Headers, keys: KeyBook) -> str:
    """The key's public id, or "guest" when none was sent. Raises InvalidApiKey."""
    key = api_key(headers)
    return GUEST if key is None else await keys.caller(key)
