"""`chain.stakes.StakesOnChain` over JSON-RPC."""

from __future__ import annotations

import asyncio

from web3.exceptions import BlockNotFound

from coordinator.chain.errors import ChainRejected, ChainUnavailable
from coordinator.chain.node_registry import NodeRegistry
from coordinator.chain.rpc import W3, connect, disconnect, reaching
from coordinator.lifecycle.stake import Registry, Stake

# Blocks searched in one request. Endpoints allow 1,000 to unlimited, and 10,000 events: one that refuses is asked for
# ever fewer, down to a single block, which has no room for so many on most chains; then for more again.
_SPAN = 50_000


class EvmStakes:
    """On a connection of its own."""

    def __init__(self, w3: W3, registry: Registry) -> None:
        self._w3, self.registry, self._span = w3, registry, _SPAN
        self._contract = NodeRegistry(w3, registry.address)

    @classmethod
    async def open(cls, rpc_url: str, chain_id: int, address: str) -> EvmStakes:
        """Raises ChainUnavailable, or ChainRejected when there is no NodeRegistry at the address."""
        w3 = connect(rpc_url)
        try:
            contract = NodeRegistry(w3, address)
            least, delay = await asyncio.gather(contract.min_stake(), contract.unbonding_delay())
        except BaseException:
            await disconnect(w3)
            raise
        return cls(w3, Registry(chain_id, contract.address, least, delay))

    async def close(self) -> None:
        await disconnect(self._w3)

    async def head(self) -> int:
        with reaching():
            return int(await self._w3.eth.block_number)

    async def block_hash(self, number: int) -> str | None:
        with reaching():
            try:
                return "0x" + bytes((await self._w3.eth.get_block(number))["hash"]).hex()
            except BlockNotFound:
                return None

    async def touched(self, first: int, last: int) -> set[str]:
        nodes: set[str] = set()
        while first <= last:
            end = min(first + self._span - 1, last)
            try:
                nodes |= await self.search(first, end)
            except (ChainRejected, ChainUnavailable):
                # too many blocks or too many events for this endpoint, as far as one can know
                if end == first:
                    self._span = _SPAN  # it was something else: an outage must not make the next search a slow one
                    raise
                self._span = max((end - first + 1) // 4, 1)
            else:
                first = end + 1
                self._span = min(self._span + self._span // 8 + 1, _SPAN)
        return nodes

    async def search(self, first: int, last: int) -> set[str]:
        """In one request."""
        return await self._contract.touched(first, last)

    async def stake_of(self, node: str, block: int) -> Stake:
        return await self._contract.stake_at(node, block)
