"""Takes a part of a node's stake, for the treasury. An operator's hand, never the software's own judgement."""

from __future__ import annotations

import structlog
from eth_account.signers.local import LocalAccount

from coordinator.chain.deploy import Deployer
from coordinator.chain.errors import ChainRejected
from coordinator.chain.fees import FeePolicy
from coordinator.chain.items import code_bytes
from coordinator.chain.node_registry import NodeRegistry
from coordinator.chain.rpc import W3

log = structlog.get_logger(__name__)


async def slash(w3: W3, account: LocalAccount, node_registry: str, node: str, wei: int, reason: str) -> int:
    """What is left of the stake, in wei. `reason`: up to 32 ASCII characters, on chain for everybody.

    The account that deployed the registry may appoint slashers, and appoints itself the first time. Raises
    ChainUnavailable, or ChainRejected when the account may not, or less is staked.
    """
    registry, account_of = NodeRegistry(w3, node_registry), Deployer(w3, account, FeePolicy())
    staked = await registry.stake_of(node)
    if staked < wei:
        raise ChainRejected(f"{staked} wei are staked for {node}, which is less than {wei}")
    if not await registry.is_slasher(account.address):
        if not await registry.is_admin(account.address):
            raise ChainRejected(f"{account.address} may neither slash in {registry.address} nor appoint who may")
        await account_of.transact({"to": registry.address, "data": await registry.appoint(account.address)})
        log.info("slasher_appointed", account=account.address, registry=registry.address)
    await account_of.transact({"to": registry.address, "data": registry.slash(node, wei, code_bytes(reason))})
    log.warning("node_slashed", node=node, wei=wei, reason=reason)
    return await registry.stake_of(node)
