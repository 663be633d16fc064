"""NodeRegistry, typed: one method a function. The coordinator reads it; providers and slashers write."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from eth_utils.abi import event_abi_to_log_topic
from eth_utils.address import to_checksum_address

from contracts import artifact
from coordinator.chain.rpc import W3, reaching
from coordinator.lifecycle.stake import Stake
from coordinator.protocol.hashing import unhex

_ABI: list[Any] = artifact("NodeRegistry").abi
# Whatever changes a stake; each names the node first.
_EVENTS = ("NodeRegistered", "StakeAdded", "NodeUnbonding", "StakeWithdrawn", "NodeSlashed")
_TOPICS = [
    bytes(event_abi_to_log_topic(entry)) for entry in _ABI if entry["type"] == "event" and entry["name"] in _EVENTS
]


class NodeRegistry:
    """Every reader raises ChainUnavailable, or ChainRejected when there is no such contract at the address."""

    def __init__(self, w3: W3, address: str) -> None:
        self._w3, self.address = w3, to_checksum_address(address)
        self._contract = w3.eth.contract(address=self.address, abi=_ABI)

    def register(self, node: str, node_signature: str) -> str:
        return str(self._contract.encode_abi("register", args=[node, unhex(node_signature)]))

    def add_stake(self, node: str) -> str:
        return str(self._contract.encode_abi("addStake", args=[node]))

    def unbond(self, node: str) -> str:
        return str(self._contract.encode_abi("unbond", args=[node]))

    def withdraw(self, node: str) -> str:
        return str(self._contract.encode_abi("withdraw", args=[node]))

    def slash(self, node: str, amount: int, reason: bytes) -> str:
        return str(self._contract.encode_abi("slash", args=[node, amount, reason]))

    async def provider_of(self, node: str) -> str:
        return str(await self._call("providerOf", node))

    async def stake_of(self, node: str) -> int:
        return int(await self._call("stakeOf", node))

    async def is_active(self, node: str) -> bool:
        return bool(await self._call("isActive", node))

    async def unbonds_at(self, node: str) -> int:
        """Unix seconds; 0 while it isn't unbonding."""
        return int(await self._call("unbondsAt", node))

    async def min_stake(self) -> int:
        return int(await self._call("minStake"))

    async def unbonding_delay(self) -> int:
        """Seconds."""
        return int(await self._call("unbondingDelay"))

    async def treasury(self) -> str:
        return str(await self._call("treasury"))

    async def registration_digest(self, provider: str, node: str) -> bytes:
        return bytes(await self._call("registrationDigest", provider, node))

    async def touched(self, first: int, last: int) -> set[str]:
        """The nodes that have an event in the blocks from `first` to `last`, both included."""
        topics: list[Any] = [_TOPICS]
        with reaching():
            logs = await self._w3.eth.get_logs(
                {"address": self.address, "topics": topics, "fromBlock": first, "toBlock": last}
            )
        return {to_checksum_address(bytes(log["topics"][1])[12:]) for log in logs}

    async def stake_at(self, node: str, block: int) -> Stake:
        """As of the end of that block."""
        names = ("providerOf", "stakeOf", "unbondsAt")
        return Stake(*await asyncio.gather(*(self._call(name, node, block=block) for name in names)))

    async def _call(self, name: str, *args: object, block: int | Literal["latest"] = "latest") -> Any:
        with reaching():
            return await self._contract.functions[name](*args).call(block_identifier=block)
