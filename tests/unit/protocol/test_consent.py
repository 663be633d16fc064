"""A node's consent, and amounts in words."""

from __future__ import annotations

import pytest
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from coordinator.protocol.amounts import coins
from coordinator.protocol.consent import consent_digest
from tests.unit.store.network import node_address

REGISTRY, PROVIDER, NODE = node_address(7), node_address(8), node_address(9)


def test_the_digest_is_eip_712() -> None:
    """As a wallet computes it from the typed data; the contract's own word is in tests/integration/node."""
    typed = encode_typed_data(
        {"name": "OpenGPU Nodes", "version": "1", "chainId": 5, "verifyingContract": REGISTRY},
        {"Registration": [{"name": "provider", "type": "address"}, {"name": "node", "type": "address"}]},
        {"provider": PROVIDER, "node": NODE},
    )
    wallet = keccak(b"\x19" + typed.version + typed.header + typed.body)
    assert consent_digest(5, REGISTRY, PROVIDER, NODE) == wallet
    assert consent_digest(6, REGISTRY, PROVIDER, NODE) != wallet


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        (0, "0 ETH"),
        (5, "5 wei"),
        (10**9, "0.000000001 ETH"),
        (3 * 10**17, "0.3 ETH"),
        (10**18, "1 ETH"),
        (10**18 + 1, "1.000000000000000001 ETH"),
        (2**200, "1606938044258990275541962092341162602522202.993782792835301376 ETH"),
    ],
)
def test_amounts_are_exact(wei: int, text: str) -> None:
    assert coins(wei) == text
