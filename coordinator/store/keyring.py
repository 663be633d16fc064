"""Keys made, listed, changed and taken away: by their account's superkey, or by the operator."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

from redis.asyncio import Redis

from coordinator.errors import InvalidRequest, KeyLimitReached, KeyNotFound
from coordinator.lifecycle.caller import Tier
from coordinator.lifecycle.keys import (
    MAX_BUDGET_NANO,
    NANO,
    Key,
    KeyChanges,
    KeyPage,
    KeyQuery,
    KeyStatus,
    NewKey,
    Restrictions,
)
from coordinator.store.keybook import digest
from coordinator.store.scripts import texts, unavailable

_LUA: Final = Path(__file__).with_name("lua")
_SHOWN: Final = 20  # characters of a key that its owner tells it by
LIMITS: Final = ("opengpu", "direct", "global", "concurrent")


class KeyRing:
    """Every method raises StoreUnavailable when Redis can't be reached. `account` None is the operator: any account."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._create, self._change = (
            redis.register_script((_LUA / f"{name}.lua").read_text()) for name in ("key_create", "key_change")
        )

    async def create(self, new: NewKey, most: int | None = None) -> tuple[str, Key]:
        """The full key, shown this once, and what is kept of it. Raises KeyLimitReached with `most` keys already."""
        api_key, key_id = f"relay_sk_{secrets.token_urlsafe(32)}", f"key_{secrets.token_hex(8)}"
        fields = {
            "name": new.name,
            "tier": new.tier,
            "super": "1" if new.superkey else "0",
            "shown": f"{api_key[:_SHOWN]}...",
            "spent_nano": "0",
            **_restricted(new.restrictions),
        }
        if new.budget_nano is not None:
            fields["budget_nano"] = str(new.budget_nano)
        pairs = [word for name, value in fields.items() if value for word in (name, value)]
        limit = "" if most is None else most
        with unavailable():
            said = await self._create(args=[digest(api_key), key_id, new.account, limit, *pairs])
        if said == b"full":
            raise KeyLimitReached(f"The account has {most} keys, as many as its tier allows. Delete one first.")
        return api_key, await self.read(new.account, key_id)

    async def read(self, account: str | None, key_id: str) -> Key:
        """Raises KeyNotFound."""
        found = await self._rows([key_id])
        if not found or (account is not None and found[0].account != account):
            raise _unknown()
        return found[0]

    async def all(self, account: str | None = None) -> list[Key]:
        """The newest first."""
        with unavailable():
            names = [account] if account is not None else sorted(_decoded(await self._redis.smembers("relay:accounts")))
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.zrevrange(f"relay:keys:{name}", 0, -1)
            listed = await pipe.execute()
        return await self._rows([key_id for row in listed for key_id in _decoded(row)])

    async def page(self, account: str, query: KeyQuery) -> KeyPage:
        """The newest first. Raises KeyNotFound for a cursor that is no key of the account."""
        keys = await self.all(account)
        start = 0
        if query.starting_after is not None:
            ids = [key.key_id for key in keys]
            if query.starting_after not in ids:
                raise _unknown()
            start = ids.index(query.starting_after) + 1
        found = [key for key in keys[start:] if query.asks_for(key)]
        page = found[: query.limit]
        more = page[-1].key_id if len(found) > query.limit else None
        return KeyPage(page, sum(map(query.asks_for, keys)), more)

    async def change(self, account: str | None, key_id: str, changes: KeyChanges) -> Key:
        """Raises KeyNotFound."""
        fields: dict[str, str] = {}
        if changes.name is not None:
            fields["name"] = changes.name
        if changes.tier is not None:
            fields["tier"] = changes.tier
        if changes.restrictions is not None:
            fields |= _restricted(changes.restrictions)
        if changes.budget_nano is not None or changes.no_budget:
            fields["budget_nano"] = "" if changes.budget_nano is None else str(changes.budget_nano)
        await self._ask(account, key_id, "set", *(word for pair in fields.items() for word in pair))
        return await self.read(account, key_id)

    async def revoke(self, account: str | None, key_id: str) -> Key:
        """From the next request on it is refused. Raises KeyNotFound."""
        await self._ask(account, key_id, "revoke")
        return await self.read(account, key_id)

    async def unrevoke(self, account: str | None, key_id: str) -> Key:
        """Raises KeyNotFound."""
        await self._ask(account, key_id, "unrevoke")
        return await self.read(account, key_id)

    async def top_up(self, account: str | None, key_id: str, nano: int) -> Key:
        """Adds to the budget. Raises KeyNotFound, InvalidRequest above a million dollars."""
        if await self._ask(account, key_id, "topup", nano, MAX_BUDGET_NANO) == b"too_much":
            raise InvalidRequest(f"amount: a budget ends at {MAX_BUDGET_NANO // NANO} US dollars")
        return await self.read(account, key_id)

    async def delete(self, account: str | None, key_id: str) -> None:
        """Raises KeyNotFound, and InvalidRequest (400) for a key that is not revoked."""
        if await self._ask(account, key_id, "delete") == b"active":
            raise InvalidRequest("key_id: the key is in use; revoke it first", status=400)

    async def _ask(self, account: str | None, key_id: str, verb: str, *args: str | int) -> bytes:
        with unavailable():
            said = await self._change(args=[key_id, account or "", verb, *args])
        if said == b"unknown":
            raise _unknown()
        return cast(bytes, said)

    async def _rows(self, key_ids: list[str]) -> list[Key]:
        """Those of them that are there still."""
        if not key_ids:
            return []
        with unavailable():
            digests = await self._redis.mget([f"relay:keyid:{key_id}" for key_id in key_ids])
            pipe = self._redis.pipeline(transaction=False)
            for found in digests:
                pipe.hgetall(f"relay:key:{''.join(_decoded([found] if found else []))}")
            rows = await pipe.execute()
        return [_key(texts(row)) for row in rows if row]


def _decoded(values: Iterable[bytes | str]) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def _unknown() -> KeyNotFound:
    return KeyNotFound("key_id: this account has no such key. GET /v2/customer/keys lists those it has.")


def _restricted(restrictions: Restrictions) -> dict[str, str]:
    """As admit.lua reads them; an empty value stands for none."""
    scopes = "\n".join(["", *restrictions.scopes, ""]) if restrictions.scopes else ""
    limits = {name: restrictions.rate_limits.get(name) for name in LIMITS}
    return {"scopes": scopes} | {f"limit_{name}": str(most) if most else "" for name, most in limits.items()}


def _key(row: Mapping[str, str]) -> Key:
    limits = {name: int(row[f"limit_{name}"]) for name in LIMITS if f"limit_{name}" in row}
    return Key(
        key_id=row["id"],
        name=row["name"],
        shown=row["shown"],
        account=row.get("account", ""),
        tier=cast(Tier, row.get("tier", "basic")),
        status=cast(KeyStatus, row.get("status", "active")),
        superkey=row.get("super") == "1",
        created_at=_moment(row["created_ms"]),
        revoked_at=_moment(row["revoked_ms"]) if "revoked_ms" in row else None,
        restrictions=Restrictions(tuple(row.get("scopes", "").split()), limits),
        budget_nano=int(row["budget_nano"]) if "budget_nano" in row else None,
        spent_nano=int(row.get("spent_nano", "0")),
        used_at=_moment(row["used_ms"]) if "used_ms" in row else None,
    )


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
