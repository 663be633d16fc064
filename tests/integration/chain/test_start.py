"""Deploying, and the check before anything is signed: one clear line that names the setting."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.chain.deploy import deploy
from coordinator.chain.errors import ChainRejected, ChainUnavailable, StartRefused
from coordinator.chain.node_registry import NodeRegistry
from coordinator.chain.rpc import connect, disconnect
from coordinator.chain.space import task_space
from coordinator.chain.start_check import start_check
from tests.integration.chain.network import AnvilNetwork
from tests.parts.servers import Anvil


async def refusal(network: AnvilNetwork, **changed: object) -> str:
    with pytest.raises(StartRefused) as refused:
        await start_check(network.w3, replace(network.expected, **changed))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    return str(refused.value)


async def test_all_is_well(network: AnvilNetwork) -> None:
    space = await start_check(network.w3, replace(network.expected, chain_id=network.anvil.chain_id))
    assert space == await task_space(network.w3, space.task_registry.lower(), network.address.lower())
    assert space.coordinator == network.address


async def test_each_mismatch_names_its_setting(network: AnvilNetwork) -> None:
    deployment = network.deployment
    assert "RELAY_CHAIN_ID: is 1, the chain behind RELAY_RPC_URL is 31337" in await refusal(network, chain_id=1)
    assert "RELAY_TASK_REGISTRY: no contract at" in await refusal(network, task_registry=network.address)
    assert "RELAY_TASK_REGISTRY: '0x12' is not an address" in await refusal(network, task_registry="0x12")
    wrong = await refusal(network, task_registry=deployment.node_registry)
    assert "is no TaskRegistry of this version: it lacks" in wrong
    assert "RELAY_NODE_REGISTRY: the TaskRegistry uses" in await refusal(network, node_registry=network.address)
    with pytest.raises(ChainRejected):
        await task_space(network.w3, deployment.node_registry, network.address)


async def test_a_contract_that_does_not_answer(network: AnvilNetwork) -> None:
    """All selectors are there, and not one function."""
    code = await network.w3.eth.get_code(network.deployment.task_registry)  # type: ignore[arg-type]
    await network.rpc("anvil_setCode", network.address, "0xfe" + bytes(code).hex())
    assert "the contract does not answer" in await refusal(network, task_registry=network.address)


async def test_deploying_twice_changes_nothing(network: AnvilNetwork) -> None:
    first = network.deployment
    again = await deploy(
        network.w3,
        network.account,
        task_registry=first.task_registry,
        node_registry=first.node_registry,
        deposit_wei=500,
    )
    assert again == replace(first, deposit_wei=500)
    assert set(again.as_json()) == {"chain_id", "coordinator", "TaskRegistry", "NodeRegistry", "deposit_wei"}
    nonce = await network.chain.mined_nonce()
    await deploy(
        network.w3,
        network.account,
        task_registry=first.task_registry,
        node_registry=first.node_registry,
        deposit_wei=400,
    )
    assert await network.chain.mined_nonce() == nonce
    nodes = NodeRegistry(network.w3, first.node_registry)
    assert await nodes.treasury() == network.address
    assert not await nodes.is_active(network.address)
    assert (await nodes.min_stake(), await nodes.unbonding_delay()) == (10**16, 7 * 24 * 3600)
    assert await network.registry.node_registry() == nodes.address


async def test_no_money_and_no_chain(anvil: Anvil, tmp_path: Path) -> None:
    network = AnvilNetwork(anvil, tmp_path / "key")
    await network.rpc("anvil_setBalance", network.address, "0x0")
    with pytest.raises(StartRefused, match=f"RELAY_CHAIN_KEY_FILE: {network.address} has 0 ETH, and needs"):
        await network.deploy()
    await asyncio.to_thread(anvil.kill)
    with pytest.raises(ChainUnavailable, match="can't be reached"):
        await network.deploy()
    await network.close()


async def test_secrets_of_an_endpoint_are_not_passed_on() -> None:
    w3 = connect("http://127.0.0.1:1/v3/SECRET")
    with pytest.raises(ChainUnavailable) as unavailable:
        await task_space(w3, "0x" + "12" * 20, "0x" + "12" * 20)
    assert "SECRET" not in str(unavailable.value)
    await disconnect(w3)
