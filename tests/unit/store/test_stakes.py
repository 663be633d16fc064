"""The store's copy of the chain's stakes: what is put is read, and a whole reading leaves nothing else."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.stake import Registry, Seen, Stake
from coordinator.store.scripts import Scripts
from coordinator.store.stakes import Stakes
from tests.unit.store.network import node_address

A, B, PROVIDER = node_address(1), node_address(2), node_address(9)
# more than a Lua number or a JSON number holds exactly
BIG = 2**256 - 1
SEEN = Seen(Registry(31337, node_address(8), min_stake_wei=100, unbonding_seconds=7), 5, "0xaa")


async def test_what_is_put_is_read(redis: Redis) -> None:
    stakes = Stakes(redis)
    assert await stakes.seen() is None
    assert await stakes.look_up(A) == (None, None)
    await stakes.put(SEEN, {A: Stake(PROVIDER, BIG, 3), B: Stake(PROVIDER, 0)}, whole=True)
    assert await stakes.seen() == SEEN
    assert await stakes.look_up(A) == (SEEN, Stake(PROVIDER, BIG, 3))
    assert await stakes.look_up(PROVIDER) == (SEEN, None)
    later = Seen(SEEN.registry, 6, "0xbb")
    await stakes.put(later, {A: Stake(PROVIDER, 1)})
    assert await stakes.all() == {A: Stake(PROVIDER, 1), B: Stake(PROVIDER, 0)}
    await stakes.put(later, {B: Stake(PROVIDER, 2)}, whole=True)
    assert await stakes.all() == {B: Stake(PROVIDER, 2)}


@pytest.mark.parametrize(
    ("stake", "least", "enough"),
    [
        (None, 0, False),
        (Stake(PROVIDER, 100), 0, True),
        (Stake(PROVIDER, 99), 0, False),  # the registry's own minimum
        (Stake(PROVIDER, BIG - 1), BIG, False),
        (Stake(PROVIDER, BIG), BIG, True),
        (Stake(PROVIDER, 1000), 999, True),
        (Stake(PROVIDER, 999), 1000, False),
        (Stake(PROVIDER, BIG, 1), 100, False),
    ],
)
async def test_redis_itself_judges_a_stake(redis: Redis, stake: Stake | None, least: int, enough: bool) -> None:
    await Stakes(redis).put(SEEN, {A: stake} if stake else {})
    script = Scripts(redis, Policy()).register("return has_stake(ARGV[1], ARGV[2]) and 1 or 0")
    assert bool(await script(args=[A, str(least)])) is enough
