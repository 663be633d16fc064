"""Stakes on a real chain, followed into a real Redis."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from redis.asyncio import Redis

from coordinator import stake_commands
from coordinator.chain.deploy import Deployer
from coordinator.chain.errors import ChainRejected
from coordinator.chain.evm_stakes import EvmStakes
from coordinator.chain.fees import FeePolicy
from coordinator.chain.node_registry import NodeRegistry
from coordinator.chain.slash import slash
from coordinator.chain.stakes import StakeMirror
from coordinator.chain.writer import sleep_unless
from coordinator.lifecycle.stake import Stake
from coordinator.protocol.consent import consent_digest
from coordinator.protocol.signing import sign_digest
from coordinator.settings import Settings, SettingsWrong
from coordinator.store.stakes import Stakes
from tests.integration.chain.network import AnvilNetwork

LEAST = 10**16


class Provider:
    """A cold key with test ether, and the nodes it stakes for."""

    def __init__(self, network: AnvilNetwork) -> None:
        key, self.address = network.anvil.funded_account()
        self.network = network
        self.registry = NodeRegistry(network.w3, network.deployment.node_registry)
        self.account = Account.from_key(key)
        self._deployer = Deployer(network.w3, self.account, FeePolicy())

    async def send(self, data: str, wei: int = 0) -> None:
        await self._deployer.transact({"to": self.registry.address, "data": data, "value": wei})

    async def register(self, key: PrivateKey, wei: int = LEAST) -> str:
        node = str(key.public_key.to_checksum_address())
        digest = consent_digest(self.network.anvil.chain_id, self.registry.address, self.address, node)
        await self.send(self.registry.register(node, sign_digest(key, digest)), wei)
        return node


@pytest.fixture
def provider(network: AnvilNetwork) -> Provider:
    return Provider(network)


@pytest.fixture
async def chain(network: AnvilNetwork) -> AsyncIterator[EvmStakes]:
    chain = await EvmStakes.open(network.anvil.url, network.anvil.chain_id, network.deployment.node_registry)
    yield chain
    await chain.close()


def key(number: int) -> PrivateKey:
    return PrivateKey(number.to_bytes(32, "big"))


def mirror(book: Stakes, chain: Any, depth: int = 1) -> StakeMirror:
    async def open_chain() -> Any:
        return chain

    return StakeMirror(book, open_chain, sleep_unless, depth=depth, first=0)


async def test_a_stake_from_its_registration_to_its_withdrawal(
    network: AnvilNetwork, provider: Provider, chain: EvmStakes, redis: Redis
) -> None:
    book, registry = Stakes(redis), provider.registry
    follower = mirror(book, chain)
    assert (chain.registry.min_stake_wei, chain.registry.unbonding_seconds) == (LEAST, 7 * 24 * 3600)

    async def staked(node: str) -> Stake | None:
        await follower.look(chain)
        return (await book.look_up(node))[1]

    one, other = await provider.register(key(1)), await provider.register(key(2), 3 * LEAST)
    assert await staked(one) == Stake(provider.address, LEAST)
    assert await staked(other) == Stake(provider.address, 3 * LEAST)
    await provider.send(registry.add_stake(one), 5)
    assert await staked(one) == Stake(provider.address, LEAST + 5)
    await provider.send(registry.unbond(one))
    unbonding = await staked(one)
    assert unbonding is not None
    assert not unbonding.suffices(LEAST)
    assert unbonding.unbonds_at == await registry.unbonds_at(one)
    with pytest.raises(ChainRejected):
        await provider.send(registry.withdraw(one))
    await network.rpc("evm_increaseTime", 7 * 24 * 3600 + 1)
    await network.mine()
    await provider.send(registry.withdraw(one))
    assert await staked(one) == Stake(provider.address, 0)
    assert await staked(other) == Stake(provider.address, 3 * LEAST)
    assert await mirror_of_all(chain) == await book.all()


async def test_what_is_slashed_is_gone(
    network: AnvilNetwork, provider: Provider, chain: EvmStakes, redis: Redis
) -> None:
    book = Stakes(redis)
    follower = mirror(book, chain)
    node = await provider.register(key(1), 3 * LEAST)
    await follower.look(chain)
    registry = provider.registry.address
    with pytest.raises(ChainRejected, match="may neither slash"):
        await slash(network.w3, provider.account, registry, node, LEAST, "GARBAGE")
    for left in (2 * LEAST + LEAST // 2, 2 * LEAST):
        assert await slash(network.w3, network.account, registry, node, LEAST // 2, "GARBAGE") == left
    await follower.look(chain)
    assert (await book.look_up(node))[1] == Stake(provider.address, 2 * LEAST)
    with pytest.raises(ChainRejected, match="is less than"):
        await slash(network.w3, network.account, registry, node, 3 * LEAST, "GARBAGE")


async def test_the_operators_command(
    network: AnvilNetwork, provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    node = await provider.register(key(1), 3 * LEAST)
    parser = argparse.ArgumentParser()
    stake_commands.add_to(parser.add_subparsers())
    settings = Settings(
        redis_url="redis://nowhere", catalogue="none", rpc_url=network.anvil.url,
        node_registry=provider.registry.address, chain_key_file=network.key_file,
    )  # type: ignore[arg-type]  # fmt: skip

    async def slashes(*words: str) -> None:
        asked = parser.parse_args(["slash", node, *words])
        await asyncio.to_thread(asked.run, settings, asked)

    await slashes("--wei", str(LEAST), "--reason", "GARBAGE")
    assert capsys.readouterr().out.splitlines()[-1] == f"0.02 ETH left of the stake of {node}"
    with pytest.raises(SettingsWrong, match="is less than"):
        await slashes("--wei", str(10 * LEAST), "--reason", "GARBAGE")
    for wrong in (
        ("--wei", "0", "--reason", "X"),
        ("--wei", "1", "--reason", "é"),
        ("--wei", "1", "--reason", "x" * 33),
    ):
        with pytest.raises(SystemExit):
            await slashes(*wrong)


async def mirror_of_all(chain: EvmStakes) -> dict[str, Stake]:
    head = await chain.head()
    return {node: await chain.stake_of(node, head) for node in sorted(await chain.touched(0, head))}


async def test_a_registration_that_left_the_chain(
    network: AnvilNetwork, provider: Provider, chain: EvmStakes, redis: Redis
) -> None:
    book = Stakes(redis)
    follower = mirror(book, chain)
    first = await provider.register(key(1))
    await network.mine()
    await provider.register(key(2))
    await follower.look(chain)
    assert len(await book.all()) == 2
    await network.reorganise(1)
    for _ in range(2):
        await follower.look(chain)
    assert await book.all() == {first: Stake(provider.address, LEAST)}


async def test_a_registration_that_is_not_deep_enough(
    network: AnvilNetwork, provider: Provider, chain: EvmStakes, redis: Redis
) -> None:
    book = Stakes(redis)
    follower = mirror(book, chain, depth=3)
    node = await provider.register(key(1))
    await follower.look(chain)
    assert await book.all() == {}
    await network.mine()
    await network.mine()
    await follower.look(chain)
    assert list(await book.all()) == [node]


class Limited(EvmStakes):
    """As an endpoint that searches 250 blocks at most."""

    asked: tuple[int, ...] = ()

    async def search(self, first: int, last: int) -> set[str]:
        self.asked = (*self.asked, last - first + 1)
        if self.asked[-1] > 250:
            raise ChainRejected("query exceeds max block range 250")
        return await super().search(first, last)


async def test_an_endpoint_that_searches_few_blocks_at_once(network: AnvilNetwork, provider: Provider) -> None:
    """The search goes on in smaller steps, and finds the same."""
    chain = await Limited.open(network.anvil.url, network.anvil.chain_id, network.deployment.node_registry)
    assert isinstance(chain, Limited)
    nodes = {await provider.register(key(1))}
    await network.rpc("anvil_mine", hex(600))
    nodes.add(await provider.register(key(2)))
    assert await chain.touched(0, await chain.head()) == nodes
    assert chain.asked[0] > 600
    assert max(chain.asked[1:]) <= 250
    await chain.close()
