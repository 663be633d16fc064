"""The copy of the stakes: it is what the chain says as of a confirmed block, whatever happens to the chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import structlog
from fakeredis import FakeAsyncRedis, FakeServer
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from structlog.testing import capture_logs

from coordinator.chain.errors import ChainUnavailable
from coordinator.chain.stakes import StakeMirror
from coordinator.lifecycle.stake import Stake
from coordinator.store.stakes import Stakes
from tests.fakes.chain_stakes import FakeStakes
from tests.unit.store.network import node_address

A, B, C, PROVIDER = (node_address(number) for number in range(1, 5))
ENOUGH = Stake(PROVIDER, 100)
DEPTH = 3


@pytest.fixture
async def book() -> AsyncIterator[Stakes]:
    redis = FakeAsyncRedis(server=FakeServer())
    yield Stakes(redis)
    await redis.aclose()


@pytest.fixture
def chain() -> FakeStakes:
    return FakeStakes()


async def never(seconds: float, stop: asyncio.Event) -> None:
    raise AssertionError("only `run` pauses")


def mirror(book: Stakes, chain: FakeStakes, *, depth: int = 1, first: int = 0) -> StakeMirror:
    async def open_chain() -> FakeStakes:
        return chain

    return StakeMirror(book, open_chain, never, depth=depth, first=first)


async def test_what_is_staked_is_known_after_the_next_look(book: Stakes, chain: FakeStakes) -> None:
    chain.stake(A, ENOUGH)
    follower = mirror(book, chain)
    await follower.look(chain)
    assert await book.all() == {A: ENOUGH}
    chain.stake(B, ENOUGH)
    chain.stake(A, Stake(PROVIDER, 100, 7))
    await follower.look(chain)
    assert await book.all() == {A: Stake(PROVIDER, 100, 7), B: ENOUGH}
    seen = await book.seen()
    assert seen is not None
    assert (seen.block, seen.registry) == (3, chain.registry)


async def test_only_what_is_deep_enough_counts(book: Stakes, chain: FakeStakes) -> None:
    follower = mirror(book, chain, depth=3)
    await follower.look(chain)
    assert await book.seen() is None  # there is no block that deep
    chain.mine(2)
    chain.stake(A, ENOUGH)
    chain.mine()
    await follower.look(chain)
    assert await book.all() == {}
    chain.mine()
    await follower.look(chain)
    assert await book.all() == {A: ENOUGH}


async def test_a_look_costs_what_happened_since_the_last_one(book: Stakes, chain: FakeStakes) -> None:
    for node in (A, B):
        chain.stake(node, ENOUGH)
    chain.mine(100)
    follower = mirror(book, chain)
    await follower.look(chain)
    chain.asked.clear()
    chain.searched.clear()
    await follower.look(chain)
    assert (chain.asked, chain.searched) == ([], [])
    chain.stake(C, ENOUGH)
    await follower.look(chain)
    assert chain.asked == [C]
    assert chain.searched == [(87, 103)]


async def test_a_registration_that_left_the_chain_is_taken_back(book: Stakes, chain: FakeStakes) -> None:
    chain.stake(A, ENOUGH)
    chain.mine()
    chain.stake(B, ENOUGH)
    follower = mirror(book, chain)
    await follower.look(chain)
    assert set(await book.all()) == {A, B}
    chain.reorganise(1)
    await follower.look(chain)
    assert set(await book.all()) == {A, B}  # it may be an endpoint that is behind
    await follower.look(chain)
    assert set(await book.all()) == {A}


async def test_a_chain_that_was_set_back_is_read_again(book: Stakes, chain: FakeStakes) -> None:
    chain.stake(A, ENOUGH)
    chain.stake(B, ENOUGH)
    follower = mirror(book, chain)
    await follower.look(chain)
    del chain.blocks[-1]
    for _ in range(2):
        await follower.look(chain)
    assert set(await book.all()) == {A}


async def test_an_endpoint_that_falls_behind_changes_nothing(book: Stakes, chain: FakeStakes) -> None:
    chain.stake(A, ENOUGH)
    follower = mirror(book, chain)
    await follower.look(chain)
    newest = chain.blocks.pop()
    await follower.look(chain)
    chain.blocks.append(newest)
    await follower.look(chain)
    chain.blocks.pop()
    await follower.look(chain)
    assert await book.all() == {A: ENOUGH}
    assert chain.asked == [A]


async def test_a_start_reads_everything_and_forgets_what_is_not_there(book: Stakes, chain: FakeStakes) -> None:
    chain.stake(A, ENOUGH)
    await mirror(book, chain).look(chain)
    seen = await book.seen()
    assert seen is not None
    await book.put(seen, {B: ENOUGH})  # as if by another writer
    await mirror(book, chain).look(chain)
    assert set(await book.all()) == {A}


async def test_another_registry_is_another_world(book: Stakes, chain: FakeStakes) -> None:
    chain.stake(A, ENOUGH)
    await mirror(book, chain).look(chain)
    other = FakeStakes(registry=replace(chain.registry, address="0x" + "7a" * 20))
    other.stake(B, ENOUGH)
    await mirror(book, other).look(other)
    assert set(await book.all()) == {B}


async def test_blocks_before_the_deployment_are_not_searched(book: Stakes, chain: FakeStakes) -> None:
    follower = mirror(book, chain, first=5)
    await follower.look(chain)
    chain.mine(5)
    chain.stake(A, ENOUGH)
    await follower.look(chain)
    chain.mine()
    await follower.look(chain)
    assert chain.searched == [(5, 6), (5, 7)]


async def test_while_the_chain_is_down_the_copy_stands_still(book: Stakes, chain: FakeStakes) -> None:
    """And goes on by itself; the connection is closed at the end."""
    stop, pauses = asyncio.Event(), 0

    async def pause(seconds: float, stop: asyncio.Event) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 1:
            assert await book.all() == {A: ENOUGH}
            chain.down = True
            chain.stake(A, Stake(PROVIDER, 0))
        elif pauses == 2:
            assert await book.all() == {A: ENOUGH}
            chain.down = False
        elif pauses == 3:
            stop.set()

    async def open_chain() -> FakeStakes:
        return chain

    chain.stake(A, ENOUGH)
    await StakeMirror(book, open_chain, pause, depth=1, first=0).run(stop)
    assert await book.all() == {A: Stake(PROVIDER, 0)}
    assert chain.closed


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Whatever level another test has set, as commands do."""
    before = structlog.get_config()
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines
    structlog.configure(**before)


async def test_a_wait_for_blocks_is_said(book: Stakes, chain: FakeStakes, logged: list[Any]) -> None:
    """A mistyped first block would keep every node out, and nobody would know why."""
    stop, pauses = asyncio.Event(), 0

    async def pause(seconds: float, stop: asyncio.Event) -> None:
        nonlocal pauses
        pauses += 1
        chain.mine(3)
        if pauses == 3:
            stop.set()

    async def open_chain() -> FakeStakes:
        return chain

    await StakeMirror(book, open_chain, pause, depth=1, first=5).run(stop)
    assert [line["event"] for line in logged] == ["stakes_stand_still", "stakes_read", "stakes_followed_again"]
    assert "RELAY_NODE_REGISTRY_BLOCK" in logged[0]["why"]


class Following(RuleBasedStateMachine):
    """Law: after three looks at a quiet chain, the store has what the chain has as of a block that is part of it and
    confirmed, or was before the chain was set back."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.redis = FakeAsyncRedis(server=FakeServer())
        self.book, self.chain = Stakes(self.redis), FakeStakes()
        self.mirror = mirror(self.book, self.chain, depth=DEPTH)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.redis.aclose())
        self.loop.close()

    @rule(number=st.integers(1, 4), wei=st.integers(0, 200), unbonds_at=st.sampled_from((0, 5)))
    def stake(self, number: int, wei: int, unbonds_at: int) -> None:
        self.chain.stake(node_address(number), Stake(PROVIDER, wei, unbonds_at))

    @rule(blocks=st.integers(1, 30))
    def mine(self, blocks: int) -> None:
        self.chain.mine(blocks)

    @rule(data=st.data())
    def reorganise(self, data: st.DataObject) -> None:
        most = len(self.chain.blocks) - 1
        if most:
            self.chain.reorganise(data.draw(st.integers(1, min(most, 40))))

    @rule(data=st.data())
    def set_back(self, data: st.DataObject) -> None:
        del self.chain.blocks[data.draw(st.integers(1, len(self.chain.blocks))) :]
        self.chain.fork += 1

    @rule()
    def restart(self) -> None:
        self.mirror = mirror(self.book, self.chain, depth=DEPTH)

    @rule(down=st.booleans())
    def look(self, down: bool) -> None:
        self.chain.down = down
        with suppress(ChainUnavailable):
            self.loop.run_until_complete(self.mirror.look(self.chain))
        self.chain.down = False

    @rule()
    def quiet(self) -> None:
        for _ in range(3):
            self.look(down=False)
        confirmed = len(self.chain.blocks) - DEPTH
        if confirmed >= 0:
            seen = self.loop.run_until_complete(self.book.seen())
            assert seen is not None
            assert seen.block >= confirmed
            assert seen.block_hash == self.chain.blocks[seen.block].hash
            assert self.loop.run_until_complete(self.book.all()) == self.chain.blocks[seen.block].stakes


TestFollowing = Following.TestCase
