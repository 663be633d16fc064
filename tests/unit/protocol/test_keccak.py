"""The fast hash and checksum are what Ethereum's own libraries compute."""

from __future__ import annotations

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak as reference
from hypothesis import given
from hypothesis import strategies as st

from coordinator.protocol.keccak import checksummed, keccak


@given(st.binary(max_size=500))
def test_the_hash(data: bytes) -> None:
    assert keccak(data) == reference(data)


@given(st.binary(min_size=20, max_size=20))
def test_the_checksum(address: bytes) -> None:
    assert checksummed(address) == to_checksum_address(address)
