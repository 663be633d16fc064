"""NodeRegistry, typed: one method a function. The coordinator reads it; providers and slashers write."""

from __future__ import annotations

import asyncio
from typing import Any

from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from eth_utils.address import to_checksum_address
from web3.types import RPCEndpoint

from contracts import artifact
from coordinator.chain.errors import ChainRejected
from coordinator.chain.rpc import W3, reaching
from coordinator.lifecycle.stake import Stake
from coordinator.protocol.hashing import unhex

_ABI: list[Any] = artifact("NodeRegistry").abi
# Whatever changes a stake; each names the node first.
_EVENTS = ("NodeRegistered", "StakeAdded", "NodeUnbonding", "StakeWithdrawn", "NodeSlashed")
_TOPICS = [
    "0x" + event_abi_to_log_topic(entry).hex()
    for entry in _ABI
    if entry["type"] == "event" and entry["name"] in _EVENTS
]
# Of one node, one word each: 0x and 32 bytes.
_STAKE = {
    entry["name"]: "0x" + function_abi_to_4byte_selector(entry).hex()
    for name in ("providerOf", "stakeOf", "unbondsAt")
    for entry in _ABI
    if entry["type"] == "function" and entry["name"] == name
}
_WORD_LENGTH = 66


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

    async def appoint(self, slasher: str) -> str:
        """Calldata that lets the account slash; for the registry's admin to send."""
        return str(self._contract.encode_abi("grantRole", args=[await self._call("SLASHER_ROLE"), slasher]))

    async def is_slasher(self, account: str) -> bool:
        return bool(await self._call("hasRole", await self._call("SLASHER_ROLE"), account))

    async def is_admin(self, account: str) -> bool:
        return bool(await self._call("hasRole", await self._call("DEFAULT_ADMIN_ROLE"), account))

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
        where = {"address": self.address, "topics": [_TOPICS], "fromBlock": hex(first), "toBlock": hex(last)}
        with reaching():
            return {_address(log["topics"][1]) for log in await self._ask("eth_getLogs", where)}

    async def stake_at(self, node: str, block: int) -> Stake:
        """As of the end of that block."""
        with reaching():
            provider, wei, unbonds_at = await asyncio.gather(*(self._word_of(name, node, block) for name in _STAKE))
            return Stake(_address(provider), int(wei, 16), int(unbonds_at, 16))

    async def _word_of(self, name: str, node: str, block: int) -> str:
        """Past web3's own encoding and decoding: with it, 1,000 nodes took 5 seconds of CPU."""
        data = _STAKE[name] + node[2:].rjust(64, "0")
        word = await self._ask("eth_call", {"to": self.address, "data": data}, hex(block))
        if len(word) != _WORD_LENGTH:
            raise ChainRejected("no such contract at that address")
        return str(word)

    async def _ask(self, method: str, *params: object) -> Any:
        with reaching():
            reply = await self._w3.provider.make_request(RPCEndpoint(method), list(params))
            if "result" not in reply:
                raise ChainRejected(str(reply.get("error"))[:300])
            return reply["result"]

    async def _call(self, name: str, *args: object) -> Any:
        with reaching():
            return await self._contract.functions[name](*args).call()


def _address(word: str) -> str:
    """Of 32 bytes as hex, the last 20."""
    return str(to_checksum_address("0x" + word[-40:]))
