"""The NodeRegistry's refusals, as a provider reads them: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from coordinator.protocol.amounts import coins
from node.staking.errors import Refused


def moment(unix_seconds: int) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M} UTC"


def in_words(refusal: Refused) -> str:
    """One or two sentences. What no contract of ours says comes as the endpoint put it."""
    count, words = _WORDS.get(refusal.name, (-1, str))
    if len(refusal.arguments) != count:
        return f"The chain refuses: {refusal.name}."
    return str(words(*refusal.arguments))


def _too_small(sent: int, least: int) -> str:
    return f"{coins(sent)} is less than the registry's least stake of {coins(least)}: pass --stake-wei {least} or more."


def _taken(node: str, provider: str) -> str:
    return (
        f"Node {node} belongs to provider {provider}, for good. If that is you, use its key (and `add-stake` to add "
        "to a stake that is there); else make another node key: python -m node key --out FILE."
    )


def _not_provider(node: str, caller: str) -> str:
    return (
        f"{caller} is not the provider of node {node}. Pass the key that registered it by --provider-key, or register "
        "it first; python -m node stake says who its provider is."
    )


def _unbonding(node: str, at: int) -> str:
    return (
        f"The stake of node {node} is on its way out: it can be withdrawn from {moment(at)} on, by python -m node "
        "withdraw. Then the node can be registered again."
    )


def _bonded(node: str, at: int) -> str:
    if at == 0:
        return f"The stake of node {node} is not unbonding: run python -m node unbond first, then wait."
    return f"The stake of node {node} can be withdrawn from {moment(at)} on. Until then, wait."


def _no_consent() -> str:
    return (
        "The consent is not the node's, or is for another provider, registry or chain. Make it anew on the node's "
        "machine: python -m node consent --provider ADDRESS, with the address of the key that registers."
    )


# Custom error → how many arguments it has, and what it means.
_WORDS: dict[str, tuple[int, Callable[..., Any]]] = {
    "StakeTooSmall": (2, _too_small),
    "NodeTaken": (2, _taken),
    "NotProvider": (2, _not_provider),
    "AlreadyUnbonding": (2, _unbonding),
    "StillBonded": (2, _bonded),
    "BadNodeSignature": (0, _no_consent),
    "NothingToWithdraw": (1, lambda node: f"Node {node} has earned nothing that was not paid out: nothing to collect."),
    "NoStake": (1, lambda node: f"There is nothing staked for node {node}: nothing to take back."),
}
