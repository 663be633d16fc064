"""Who may do what how often: one round trip a request. Keys are kept as SHA-256: random bits need no slow hash."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, cast

from redis.asyncio import Redis

from coordinator.errors import (
    InvalidApiKey,
    KeyRevoked,
    ModelNotAvailable,
    RateLimited,
    ScopeDenied,
    StoreUnavailable,
)
from coordinator.lifecycle.caller import Admitted, Allowance, Caller, Credential, Tier
from coordinator.lifecycle.order import Mode
from coordinator.lifecycle.tiers import TierLimits
from coordinator.store.together import Together

_FORM: Final = re.compile(r"^relay_sk_[A-Za-z0-9_-]{20,200}$")
# Nobody knows when one of the caller's calls will end.
_BUSY: Final = timedelta(seconds=5)
# A caller that asks again at another process is to find the call gone that he has just read the end of.
_SOON: Final = timedelta(milliseconds=10)
_MOST_ENDED: Final = 100
_SCRIPT: Final = Path(__file__).with_name("lua") / "admit.lua"


def digest(api_key: str) -> str:
    """What a key is kept as."""
    return hashlib.sha256(api_key.encode()).hexdigest()


class KeyBook:
    """Limits hold across all processes on one store: they are judged there, by its clock.

    Raises StoreUnavailable when Redis can't be reached.
    """

    def __init__(self, redis: Redis, tiers: Mapping[Tier, TierLimits]) -> None:
        self._ended: list[tuple[str, str]] = []
        self._telling: asyncio.Task[None] | None = None
        self._admit = Together(redis, _lua_tiers(tiers) + _SCRIPT.read_text())

    async def identify(self, credential: Credential) -> Caller:
        """Who it is; nothing is counted. Raises InvalidApiKey, KeyRevoked."""
        return _caller(await self._ask(credential, 0, {}))

    async def admit(self, credential: Credential, choices: Mapping[Mode, str], call: str = "") -> Admitted:
        """Counts one request in the first of `choices` (mode: scope) that the caller may use.

        With a `call` that comes out as direct, it is one of those that he may have so many of at a time, until `ended`.

        Raises InvalidApiKey, KeyRevoked, ScopeDenied, ModelNotAvailable, RateLimited; then nothing was counted.
        """
        row = await self._ask(credential, 1, choices, call)
        if row[0] == b"scope":
            raise ScopeDenied("The API key is restricted to other models or modes than the one asked for.")
        if row[0] == b"tier":
            raise ModelNotAvailable("The model is not available in this mode to your tier: see GET /v2/tiers.")
        _, _, _, _, _, _, mode, bucket, limit, remaining, reset, retry = row
        allowance = Allowance(int(limit), int(remaining), timedelta(microseconds=int(reset)))
        if row[0] == b"busy":
            message = f"{int(row[5])} of your calls have not ended yet, as many as you may have at a time."
            raise RateLimited(message, retry_after=_BUSY, allowance=allowance)
        if row[0] == b"rate":
            which = "requests" if bucket == b"global" else f"requests in {bucket.decode()} mode"
            raise RateLimited(
                f"The limit of {allowance.limit} {which} a minute is reached.",
                retry_after=timedelta(microseconds=int(retry)),
                allowance=allowance,
            )
        return Admitted(_caller(row), cast(Mode, mode.decode()), allowance)

    def ended(self, caller_id: str, call: str) -> None:
        """Said to the store with the next request, before that one is judged, or soon after."""
        self._ended.append((caller_id, call))
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        await asyncio.sleep(_SOON.total_seconds())
        with contextlib.suppress(StoreUnavailable):  # they count until their time is over
            while self._ended:
                await self._ask(Credential(None, ""), 0, {})

    async def _ask(
        self, credential: Credential, count: int, choices: Mapping[Mode, str], call: str = ""
    ) -> list[bytes]:
        key = credential.api_key
        if key is not None and not _FORM.fullmatch(key):
            raise _unknown()
        told, self._ended = self._ended[:_MOST_ENDED], self._ended[_MOST_ENDED:]
        words = [word for pair in (*choices.items(), *told) for word in pair]
        who = ("" if key is None else digest(key), credential.address)
        row = await self._admit.ask(*who, count, call, len(choices), *words)
        if row[0] == b"unknown":
            raise _unknown()
        if row[0] == b"revoked":
            raise KeyRevoked("The API key is revoked.")
        return cast(list[bytes], row)


def _unknown() -> InvalidApiKey:
    return InvalidApiKey("The API key is not known here. Check the X-API-Key or Authorization header.")


def _caller(row: list[bytes]) -> Caller:
    caller_id, tier, account, superkey, concurrent = (value.decode() for value in row[1:6])
    return Caller(
        caller_id,
        cast(Tier, tier),
        key_id=caller_id if caller_id.startswith("key_") else None,
        account=account or None,
        superkey=superkey == "1",
        concurrent=int(concurrent),
    )


def _lua_tiers(tiers: Mapping[Tier, TierLimits]) -> str:
    """The tiers as a Lua table. A scope holds no quote, backslash or line break: the catalogue sees to it."""

    def row(limits: TierLimits) -> str:
        scopes = "{" + ",".join(f"['{scope}']=true" for scope in limits.model_restrictions) + "}"
        rates = f"opengpu={limits.opengpu},direct={limits.direct},['global']={limits.overall}"
        return f"{{{rates},concurrent={limits.concurrent},scopes={scopes if limits.model_restrictions else 'nil'}}}"

    return "local TIERS = {" + ",".join(f"{tier}={row(limits)}" for tier, limits in tiers.items()) + "}\n"
