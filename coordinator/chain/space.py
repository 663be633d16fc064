"""Where a coordinator's tasks live on chain: all that the API needs of this room. Takes an address, never the key."""

from __future__ import annotations

from eth_utils.address import to_checksum_address

from coordinator.chain.registry import TaskRegistry
from coordinator.chain.rpc import W3, reaching
from coordinator.protocol.hashing import TaskSpace


async def task_space(w3: W3, registry_address: str, coordinator_address: str) -> TaskSpace:
    """Asks the chain for its id and the registry for what it clones.

    Raises ChainUnavailable, or ChainRejected when there is no TaskRegistry at the address.
    """
    registry = TaskRegistry(w3, registry_address)
    with reaching():
        chain_id = await w3.eth.chain_id
    implementation = await registry.implementation()
    return TaskSpace(chain_id, registry.address, implementation, to_checksum_address(coordinator_address))
