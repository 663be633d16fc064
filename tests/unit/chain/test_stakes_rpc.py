"""Stakes over JSON-RPC from endpoints that refuse, fail or answer nonsense: said as what it is, and never the end."""

from __future__ import annotations

import asyncio

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from coordinator.chain.errors import ChainRejected, ChainUnavailable
from coordinator.chain.evm_stakes import EvmStakes
from coordinator.chain.rpc import connect
from coordinator.chain.stakes import StakeMirror
from coordinator.lifecycle.stake import Registry
from coordinator.store.stakes import Stakes
from tests.fakes.json_rpc import json_rpc
from tests.unit.store.network import node_address

NODE = node_address(1)
REGISTRY = Registry(31337, node_address(9), min_stake_wei=1, unbonding_seconds=60)
NONSENSE: list[object] = [
    {"result": None}, {"result": 5}, {"result": "zz"}, {"result": "0x" + "zz" * 32}, {"result": [None]},
    {"result": [{}]}, {"result": [{"topics": []}]}, {"result": {"hash": 7}}, {"error": "no"}, {}, [], 7,
]  # fmt: skip


@pytest.mark.parametrize("said", NONSENSE, ids=str)
async def test_nonsense_is_an_outage_like_any_other(said: object) -> None:
    async with json_rpc(lambda _: said) as url:
        chain = EvmStakes(connect(url), REGISTRY)
        for asked in (chain.stake_of(NODE, 1), chain.touched(1, 1)):
            with pytest.raises((ChainUnavailable, ChainRejected)):
                await asked
        await chain.close()


@pytest.mark.parametrize("said", NONSENSE, ids=str)
async def test_the_copy_is_still_followed_after_nonsense(said: object) -> None:
    """Whatever is asked for; the loop ends by its stop alone."""
    stop, looks = asyncio.Event(), 0

    async def pause(seconds: float, stop: asyncio.Event) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            stop.set()

    async with json_rpc(lambda _: said) as url:

        async def open_chain() -> EvmStakes:
            return EvmStakes(connect(url), REGISTRY)

        redis = FakeAsyncRedis(server=FakeServer())
        await StakeMirror(Stakes(redis), open_chain, pause, depth=1, first=0).run(stop)
        await redis.aclose()
    assert looks == 3


class Choosy(EvmStakes):
    """Over no wire. `most`: blocks that it searches in one request; `crowded`: a block that it searches by itself
    alone; `down`: so many requests fail."""

    most, crowded, down = 50_000, -1, 0

    def __init__(self) -> None:
        super().__init__(connect("http://127.0.0.1:1"), REGISTRY)
        self.asked: list[tuple[int, int]] = []

    async def search(self, first: int, last: int) -> set[str]:
        self.asked.append((first, last))
        if self.down:
            self.down -= 1
            raise ChainUnavailable("it is down")
        if last - first >= self.most or (first <= self.crowded <= last and first != last):
            raise ChainRejected("query returned more than 10000 results")
        return {NODE} if first <= self.crowded <= last else set()


async def test_a_block_full_of_events_keeps_nobody_from_the_rest() -> None:
    """`addStake` of nothing costs a provider next to nothing, and endpoints give 10,000 events at most."""
    chain = Choosy()
    chain.crowded = 77
    assert await chain.touched(0, 200) == {NODE}


async def test_an_outage_in_a_long_search_does_not_slow_the_next_one_down() -> None:
    chain = Choosy()
    chain.down = 100
    with pytest.raises(ChainUnavailable):
        await chain.touched(0, 1_000_000)
    chain.down = 0
    chain.asked.clear()
    await chain.touched(0, 1_000_000)
    assert len(chain.asked) == 21


async def test_an_endpoint_that_failed_once_is_asked_for_more_again() -> None:
    chain = Choosy()
    chain.down = 1
    await chain.touched(0, 10_000_000)
    assert len(chain.asked) < 2 * 200
    assert chain.asked[-2][1] - chain.asked[-2][0] + 1 == 50_000


async def test_an_endpoint_of_few_blocks_is_asked_for_few() -> None:
    """More is tried now and then, and refused at little cost."""
    chain = Choosy()
    chain.most = 1_000
    await chain.touched(0, 1_000_000)
    assert len(chain.asked) < 2_500
