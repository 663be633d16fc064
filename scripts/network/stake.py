"""Stakes for the network's own nodes, from a provider's key of its own: what `python -m node register` is elsewhere.

A chain of our own takes transactions unsigned, and not importing web3 to sign them saves the start a second. What the
contract checks, the node's consent, is signed as everywhere. `python -m node unbond` and the rest work on these nodes
as on any other, with --provider-key DIR/keys/provider.key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from coordinator.protocol.consent import consent_digest
from coordinator.protocol.signing import sign_digest
from scripts.network.chain import CHAIN_ID, Chain
from scripts.network.children import StartFailed
from scripts.network.keys import account
from scripts.network.wire import Refused, rpc

# The registry's own minimum, as `coordinator deploy` sets it (chain/deploy.py): 0.01 ETH.
STAKE_WEI = 10**16


async def stake_nodes(chain: Chain, registry: str, provider_key: Path, nodes: Iterable[PrivateKey]) -> int:
    """How many had none: those that are registered already are left alone. Raises StartFailed."""
    provider = account(provider_key)
    await chain.fund(provider)
    try:
        return await asyncio.to_thread(_stake_all, chain.url, registry, provider, nodes)
    except (OSError, Refused) as error:
        raise StartFailed(f"the nodes' stakes: {error}; if one is being withdrawn, start anew with --fresh") from error


def _stake_all(url: str, registry: str, provider: str, nodes: Iterable[PrivateKey]) -> int:
    new = [key for key in nodes if not _is_active(url, registry, _address(key))]
    if not new:
        return 0
    rpc(url, "anvil_impersonateAccount", provider)
    for key in new:
        call = {"from": provider, "to": registry, "value": hex(STAKE_WEI), "data": _register(registry, provider, key)}
        rpc(url, "eth_sendTransaction", call)  # refused at once, with the reason, where it would fail
    rpc(url, "anvil_stopImpersonatingAccount", provider)
    return len(new)


def _is_active(url: str, registry: str, node: str) -> bool:
    data = _selector("isActive(address)") + _word(node)
    return int(rpc(url, "eth_call", {"to": registry, "data": "0x" + data.hex()}, "latest"), 16) == 1


def _register(registry: str, provider: str, key: PrivateKey) -> str:
    """register(address node, bytes consent), as calldata."""
    node = _address(key)
    consent = bytes.fromhex(sign_digest(key, consent_digest(CHAIN_ID, registry, provider, node))[2:])
    words = [_word(node), (64).to_bytes(32, "big"), len(consent).to_bytes(32, "big"), consent.ljust(96, b"\0")]
    return "0x" + b"".join([_selector("register(address,bytes)"), *words]).hex()


def _selector(signature: str) -> bytes:
    return bytes(keccak(text=signature)[:4])


def _address(key: PrivateKey) -> str:
    return str(key.public_key.to_checksum_address())


def _word(address: str) -> bytes:
    return bytes.fromhex(address[2:]).rjust(32, b"\0")
