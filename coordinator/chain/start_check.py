"""What must hold before anything is signed: settings, key, chain and contracts belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.address import is_hex_address, to_checksum_address
from eth_utils.crypto import keccak

from contracts import artifact
from coordinator.chain.errors import ChainRejected, StartRefused
from coordinator.chain.registry import Domain, TaskRegistry
from coordinator.chain.rpc import W3, reaching
from coordinator.chain.space import task_space
from coordinator.protocol.hashing import TaskSpace

_REDEPLOY = "Correct the address, or deploy anew: python -m coordinator deploy"


@dataclass(frozen=True, slots=True)
class Expected:
    """As configured. `chain_id` and `node_registry` are checked where they are given."""

    task_registry: str
    coordinator: str
    node_registry: str | None = None
    chain_id: int | None = None


async def start_check(w3: W3, expected: Expected) -> TaskSpace:
    """Where the coordinator's tasks live. Raises StartRefused with the setting to change, or ChainUnavailable."""
    with reaching():
        chain_id = await w3.eth.chain_id
    if expected.chain_id not in (None, chain_id):
        raise StartRefused(
            "RELAY_CHAIN_ID", f"is {expected.chain_id}, the chain behind RELAY_RPC_URL is {chain_id}", "Correct either."
        )
    await _check_code(w3, "RELAY_TASK_REGISTRY", expected.task_registry, "TaskRegistry", chain_id)
    try:
        space = await task_space(w3, expected.task_registry, expected.coordinator)
        await _check_registry(w3, expected, space)
    except ChainRejected as error:
        raise StartRefused("RELAY_TASK_REGISTRY", f"the contract does not answer ({error})", _REDEPLOY) from error
    return space


async def _check_registry(w3: W3, expected: Expected, space: TaskSpace) -> None:
    registry = TaskRegistry(w3, space.task_registry)
    await _check_code(w3, "RELAY_TASK_REGISTRY", space.implementation, "Task", space.chain_id)
    if await registry.domain() != Domain("OpenGPU Relay", "1", space.chain_id, space.task_registry):
        raise StartRefused("RELAY_TASK_REGISTRY", "nodes sign for another EIP-712 domain", _REDEPLOY)
    await _check_prediction(registry, space)
    node_registry = await registry.node_registry()
    if expected.node_registry is not None:
        if node_registry != _address("RELAY_NODE_REGISTRY", expected.node_registry):
            raise StartRefused(
                "RELAY_NODE_REGISTRY", f"the TaskRegistry uses {node_registry}", "Set it to that address."
            )
        await _check_code(w3, "RELAY_NODE_REGISTRY", node_registry, "NodeRegistry", space.chain_id)


async def _check_prediction(registry: TaskRegistry, space: TaskSpace) -> None:
    """Task addresses are told to clients before the chain knows of the task: ours must be the contract's."""
    key, request_hash = ("0x" + keccak(text=text).hex() for text in ("start check: key", "start check: request"))
    ours = space.task_address(key, request_hash)
    theirs = await registry.task_address(space.coordinator, key, request_hash)
    if ours != theirs:
        raise StartRefused("RELAY_TASK_REGISTRY", f"predicts task {theirs}, this version {ours}", _REDEPLOY)


async def _check_code(w3: W3, setting: str, address: str, contract: str, chain_id: int) -> None:
    with reaching():
        code = bytes(await w3.eth.get_code(to_checksum_address(_address(setting, address))))
    if not code:
        raise StartRefused(setting, f"no contract at {address} on chain {chain_id}", _REDEPLOY)
    missing = [name for name, selector in _selectors(contract) if selector not in code]
    if missing:
        raise StartRefused(setting, f"{address} is no {contract} of this version: it lacks {missing[0]}()", _REDEPLOY)


def _address(setting: str, value: str) -> str:
    if not is_hex_address(value):
        raise StartRefused(setting, f"{value!r} is not an address", "It is 0x and 40 hexadecimal digits.")
    return to_checksum_address(value)


def _selectors(contract: str) -> list[tuple[str, bytes]]:
    """solc pushes a selector without its leading zeros."""
    functions: list[Any] = [entry for entry in artifact(contract).abi if entry["type"] == "function"]
    return [(entry["name"], function_abi_to_4byte_selector(entry).lstrip(b"\0")) for entry in functions]
