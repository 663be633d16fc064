"""NodeRegistry, typed: one method a function. The coordinator reads it; providers and slashers write."""

from __future__ import annotations

from typing import Any

from eth_utils.address import to_checksum_address

from contracts import artifact
from coordinator.chain.rpc import W3, reaching
from coordinator.protocol.hashing import unhex


class NodeRegistry:
    """Every reader raises ChainUnavailable, or ChainRejected when there is no such contract at the address."""

    def __init__(self, w3: W3, address: str) -> None:
        self.address = to_checksum_address(address)
        self._contract = w3.eth.contract(address=self.address, abi=artifact("NodeRegistry").abi)

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

    async def _call(self, name: str, *args: object) -> Any:
        with reaching():
            return await self._contract.functions[name](*args).call()
