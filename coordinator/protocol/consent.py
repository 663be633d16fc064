"""A node's consent to its provider: what its hot key signs so that a cold key may register it on chain."""

from __future__ import annotations

from coordinator.protocol.keccak import keccak

# The domain and the type of contracts/src/NodeRegistry.sol, which computes the same as `registrationDigest`.
_DOMAIN = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_NAME, _VERSION = keccak(b"OpenGPU Nodes"), keccak(b"1")
_REGISTRATION = keccak(b"Registration(address provider,address node)")


def consent_digest(chain_id: int, node_registry: str, provider: str, node: str) -> bytes:
    """EIP-712. Bound to chain, registry and provider: the signature is of use to nobody else, and nowhere else."""
    domain = keccak(_DOMAIN + _NAME + _VERSION + chain_id.to_bytes(32, "big") + _word(node_registry))
    return keccak(b"\x19\x01" + domain + keccak(_REGISTRATION + _word(provider) + _word(node)))


def _word(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x")).rjust(32, b"\0")
