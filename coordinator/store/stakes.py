"""Stakes in Redis, as the chain writer reads them from the chain; keys and fields: `lua/stake_prelude.lua`.

One hash for all nodes, so that a whole reading of the chain replaces it in one step.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis

from coordinator.lifecycle.stake import Registry, Seen, Stake
from coordinator.store.scripts import texts, unavailable

_STAKES, _STAKING = "relay:stakes", "relay:staking"


class Stakes:
    """Raises StoreUnavailable when Redis can't be reached."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def look_up(self, node: str) -> tuple[Seen | None, Stake | None]:
        """None and None until the chain writer has read the chain; no stake for a node that was never registered."""
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hgetall(_STAKING)
            pipe.hget(_STAKES, node)
            fields, row = await pipe.execute()
        seen = _seen(texts(fields))
        return seen, _stake(row.decode()) if seen and row else None

    async def seen(self) -> Seen | None:
        with unavailable():
            return _seen(texts(await self._redis.hgetall(_STAKING)))

    async def all(self) -> dict[str, Stake]:
        with unavailable():
            rows = texts(await self._redis.hgetall(_STAKES))
        return {node: _stake(row) for node, row in sorted(rows.items())}

    async def put(self, seen: Seen, stakes: Mapping[str, Stake], *, whole: bool = False) -> None:
        """All in one step. `whole`: these are all there are; whatever else is known is wrong, and goes."""
        registry = seen.registry
        with unavailable():
            pipe = self._redis.pipeline(transaction=True)
            if whole:
                pipe.delete(_STAKES)
            if stakes:
                pipe.hset(_STAKES, mapping={node: _row(stake) for node, stake in stakes.items()})
            pipe.hset(
                _STAKING,
                mapping={
                    "chain_id": registry.chain_id,
                    "registry": registry.address,
                    "min_stake": str(registry.min_stake_wei),
                    "unbonding": registry.unbonding_seconds,
                    "block": seen.block,
                    "block_hash": seen.block_hash,
                },
            )
            await pipe.execute()


def _row(stake: Stake) -> str:
    return f"{stake.provider} {stake.wei} {stake.unbonds_at}"


def _stake(row: str) -> Stake:
    provider, wei, unbonds_at = row.split(" ")
    return Stake(provider, int(wei), int(unbonds_at))


def _seen(fields: Mapping[str, str]) -> Seen | None:
    if not fields:
        return None
    registry = Registry(int(fields["chain_id"]), fields["registry"], int(fields["min_stake"]), int(fields["unbonding"]))
    return Seen(registry, int(fields["block"]), fields["block_hash"])
