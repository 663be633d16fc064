"""The chain, where the provider names an endpoint of his own: the coordinator's contracts, and the node's stake."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from coordinator.protocol.amounts import coins
from coordinator.protocol.session import Admission, Network
from node.check.outcome import Outcome, failed, ok, warning

if TYPE_CHECKING:
    from node.staking.chain import EvmNode

_BY_STAKE = (Admission.STAKE, Admission.LIST_OR_STAKE)


async def look_at_chain(network: Network, node: str, rpc_url: SecretStr | None) -> list[Outcome]:
    """`rpc_url` None: the coordinator is taken at its word."""
    if network.chain_id is None or network.task_registry is None:
        return [failed("chain", "the coordinator doesn't know its own yet", "wait until its chain writer has started")]
    said = f"chain {network.chain_id}, tasks in {network.task_registry}"
    if rpc_url is None:
        return [ok("chain", f"{said}; set NODE_RPC_URL to see that for yourself")]
    return await _ask_chain(network, node, rpc_url, said)


async def _ask_chain(network: Network, node: str, rpc_url: SecretStr, said: str) -> list[Outcome]:
    from node.staking.chain import EvmNode  # web3 takes a second to import, which few need here
    from node.staking.errors import Refused, StakingError

    chain, host = EvmNode(rpc_url), _host(rpc_url)
    try:
        found = await chain.chain_id()
        if found != network.chain_id:
            remedy = f"set NODE_RPC_URL to an endpoint of chain {network.chain_id}"
            return [failed("chain", f"{said}; {host} is of chain {found}", remedy)]
        if not await chain.code(network.task_registry or ""):
            return [failed("chain", f"{said}; {host} knows no contract there", "don't work for it: ask its operator")]
        return [ok("chain", f"{said}; {host} knows it"), *await _stake(chain, network, node)]
    except (StakingError, Refused) as error:
        return [failed("chain", f"{host}: {error}", "see that NODE_RPC_URL is right")]
    finally:
        await chain.close()


def _host(url: SecretStr) -> str:
    """The rest often holds a key."""
    try:
        return urlsplit(url.get_secret_value()).hostname or "NODE_RPC_URL"
    except ValueError:
        return "NODE_RPC_URL"


async def _stake(chain: EvmNode, network: Network, node: str) -> list[Outcome]:
    """Nothing where stakes don't count. Raises StakingError."""
    from node.staking.registry import NodeRegistry

    if network.admission not in _BY_STAKE or network.node_registry is None:
        return []
    registry = await NodeRegistry.open(chain, network.node_registry, network.chain_id)
    terms, held = await registry.terms(), await registry.held(node)
    least = max(network.stake_wei or 0, terms.least_wei)
    needed = network.admission is Admission.STAKE
    if held.active and held.wei >= least:
        return [ok("stake", f"{coins(held.wei)}, of provider {held.provider}")]
    if held.provider is None:
        seen, remedy = f"not registered; {coins(least)} are asked for", "python -m node register --provider-key FILE"
    elif held.unbonds_at:
        seen, remedy = "unbonding: it is on its way out", "withdraw it when its delay is over, then register again"
    else:
        seen = f"{coins(held.wei)} of {coins(least)}"
        remedy = "python -m node add-stake --provider-key FILE"
    return [failed("stake", seen, remedy) if needed else warning("stake", f"{seen}, unless the list has it", remedy)]
