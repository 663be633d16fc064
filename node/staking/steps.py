"""What each command does: look, say what will happen, do it, say what is. All raise StakingError and Refused."""

from __future__ import annotations

import time
from collections.abc import Callable

from eth_account.signers.local import LocalAccount

from coordinator.protocol.amounts import coins
from coordinator.protocol.consent import consent_digest
from coordinator.protocol.signing import sign_digest
from node.identity import Identity
from node.staking.chain import Mined
from node.staking.errors import Refused, StakingError
from node.staking.registry import Held, NodeRegistry, TaskRegistry, Terms
from node.staking.words import moment

Tell = Callable[[str], None]


def consent(identity: Identity, chain_id: int, registry: str, provider: str) -> str:
    """What `register` needs of the node's own key; needs neither chain nor coordinator."""
    return sign_digest(identity.key, consent_digest(chain_id, registry, provider, identity.address))


async def register(
    registry: NodeRegistry,
    account: LocalAccount,
    node: str,
    consented: str,
    wei: int | None,
    least_wei: int,
    tell: Tell,
) -> None:
    """`wei` None stakes `least_wei`, or the registry's own minimum where that is more.

    One that is registered with so much already is left as it is.
    """
    terms, held = await registry.terms(), await registry.held(node)
    wei = wei or max(least_wei, terms.least_wei)
    if held.provider == account.address and held.unbonds_at:
        raise Refused("AlreadyUnbonding", (node, held.unbonds_at))  # the contract would say that it is taken
    if held.provider == account.address and held.wei:
        if held.wei < wei:
            raise StakingError(
                f"Node {node} is registered already, with {coins(held.wei)}. To stake {coins(wei)}, run "
                f"python -m node add-stake --provider-key FILE --stake-wei {wei - held.wei}."
            )
        return tell(f"{node} is registered already, with {coins(held.wei)}: nothing to do")
    tell(_terms(registry, terms))
    tell(f"staking {coins(wei)} of {account.address} for {node} ...")
    _done(tell, "registered", await registry.register(account, node, consented, wei))
    tell("The coordinator lets the node in when it has seen this block: a few seconds after its confirmations.")


async def add_stake(
    registry: NodeRegistry, account: LocalAccount, node: str, wei: int | None, least_wei: int, tell: Tell
) -> None:
    """`wei` None adds what is missing to `least_wei`, or to the registry's own minimum where that is more."""
    terms, held = await registry.terms(), await registry.held(node)
    if held.provider is None or (held.wei == 0 and not held.unbonds_at):
        raise StakingError(f"Nothing is staked for node {node}: run python -m node register --provider-key FILE.")
    missing = max(least_wei, terms.least_wei) - held.wei if wei is None else wei
    if missing <= 0:
        return tell(f"{coins(held.wei)} is staked for {node}, which is enough; say how much to add by --stake-wei")
    tell(f"adding {coins(missing)} to {coins(held.wei)} for {node} ...")
    _done(tell, "added", await registry.add_stake(account, node, missing))


async def unbond(registry: NodeRegistry, account: LocalAccount, node: str, tell: Tell) -> None:
    _done(tell, "unbonding", await registry.unbond(account, node))
    at = (await registry.held(node)).unbonds_at
    tell(f"The coordinator lets the node go within seconds. Withdraw the stake from {moment(at)} on.")


async def withdraw(registry: NodeRegistry, account: LocalAccount, node: str, tell: Tell) -> None:
    wei = (await registry.held(node)).wei
    _done(tell, f"withdrew {coins(wei)} to {account.address}", await registry.withdraw(account, node))


async def collect(registry: TaskRegistry, account: LocalAccount, node: str, tell: Tell) -> None:
    wei = await registry.credit_of(node)
    _done(tell, f"paid {coins(wei)} that {node} has earned to its provider", await registry.pay_out(account, node))


async def show(registry: NodeRegistry, node: str, least_wei: int, tell: Tell) -> bool:
    """Whether the node is registered with enough."""
    terms, held = await registry.terms(), await registry.held(node)
    least = max(least_wei, terms.least_wei)
    enough = held.active and held.wei >= least
    tell(f"node         {node}")
    tell(f"provider     {held.provider or 'none: not registered'}")
    tell(f"stake        {coins(held.wei)}")
    tell(f"least stake  {coins(least)}")
    tell(f"unbonds      {_leaving(held)}")
    tell(f"active       {'yes' if enough else 'no'}")
    tell(_terms(registry, terms))
    return enough


def _leaving(held: Held) -> str:
    if not held.unbonds_at:
        return "no"
    return f"{'since' if held.unbonds_at <= time.time() else 'from'} {moment(held.unbonds_at)} it can be withdrawn"


def _terms(registry: NodeRegistry, terms: Terms) -> str:
    days = f"{terms.unbonding_seconds / 86_400:g} days"
    return (
        f"registry {registry.address} on chain {registry.chain_id}: least stake {coins(terms.least_wei)}, paid back "
        f"{days} after `unbond`; what is slashed goes to {terms.treasury}"
    )


def _done(tell: Tell, what: str, mined: Mined) -> None:
    tell(f"{what}: block {mined.block}, transaction {mined.tx_hash}, for {coins(mined.fee_wei)} in fees")
