"""Signatures of a node: over whole HTTP requests (EIP-191) and over Receipts (EIP-712).

A request's signature covers whom it is for, method, path, time, a nonce and the keccak-256 of the raw body, so nothing
of it can be changed, moved to another path, replayed, or passed on: without the audience, the operator of one
coordinator could hand a node another coordinator's challenge, and sign in there with what the node signs.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import coincurve
from eth_keys.datatypes import PrivateKey

from coordinator.protocol.keccak import checksummed, keccak

NODE_HEADER = "x-node-address"
AUDIENCE_HEADER = "x-node-audience"
TIME_HEADER = "x-node-time"
NONCE_HEADER = "x-node-nonce"
SIGNATURE_HEADER = "x-node-signature"

# The clock of a node may differ this much from the coordinator's; nonces are remembered for longer than twice this.
TIME_WINDOW_MS = 60_000
NONCE_MEMORY_MS = 3 * TIME_WINDOW_MS
# Half the order of secp256k1. Of (r, s) and (r, n - s), which are of one key, the contract takes the lower (EIP-2).
_HIGHEST_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


class SignatureMismatch(ValueError):
    """The signature is malformed, or of another key."""


@dataclass(frozen=True, slots=True)
class SignedHeaders:
    """The five headers of a signed request, parsed."""

    node: str
    audience: str
    time_ms: int
    nonce: str
    signature: str


@lru_cache(maxsize=16)
def audience(url: str) -> str:
    """Whom requests to `url` are for: its host, and its port where that is not the scheme's own. Raises ValueError."""
    parts = urlsplit(url)
    host, port = (parts.hostname or "").lower(), parts.port
    host = f"[{host}]" if ":" in host else host
    return host if port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else f"{host}:{port}"


def request_digest(audience: str, method: str, path: str, time_ms: int, nonce: str, body: bytes) -> bytes:
    """EIP-191 (version 0x45) digest of the canonical text of a request. `path` is without host and query."""
    words = ("opengpu-relay node request", audience, method, path, str(time_ms), nonce, keccak(body).hex())
    text = "\n".join(words).encode()
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(text)).encode() + text)


@lru_cache(maxsize=16)
def _signer(key: PrivateKey) -> tuple[coincurve.PrivateKey, str]:
    """The same key for libsecp256k1, and its address: making either costs more than a signature."""
    return coincurve.PrivateKey(key.to_bytes()), str(key.public_key.to_checksum_address())


def sign_digest(key: PrivateKey, digest: bytes) -> str:
    """65 bytes r ‖ s ‖ v as 0x-hex, v being 27 or 28, as the EVM's ecrecover takes it. 32 µs."""
    signature = _signer(key)[0].sign_recoverable(digest, hasher=None)
    return "0x" + (signature[:64] + bytes([signature[64] + 27])).hex()


def recover(digest: bytes, signature: str) -> str:
    """The checksummed address that signed `digest`. Raises SignatureMismatch for what the contract wouldn't take."""
    try:
        raw = bytes.fromhex(signature.removeprefix("0x"))
        if len(raw) != 65 or raw[64] not in (27, 28) or int.from_bytes(raw[32:64]) > _HIGHEST_S:
            raise SignatureMismatch("a signature is 65 bytes, of the lower s, the last byte 27 or 28")
        recoverable = raw[:64] + bytes([raw[64] - 27])
        public = coincurve.PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
        return checksummed(keccak(public.format(compressed=False)[1:])[12:])
    except Exception as error:  # coincurve raises bare Exception for a signature of no key
        raise SignatureMismatch("the signature can't be recovered") from error


def sign_request(key: PrivateKey, method: str, path: str, body: bytes, audience: str) -> dict[str, str]:
    """The headers that make a request a node's own. `audience`: that of the coordinator's URL."""
    time_ms, nonce = int(time.time() * 1000), secrets.token_hex(16)
    return {
        NODE_HEADER: _signer(key)[1],
        AUDIENCE_HEADER: audience,
        TIME_HEADER: str(time_ms),
        NONCE_HEADER: nonce,
        SIGNATURE_HEADER: sign_digest(key, request_digest(audience, method, path, time_ms, nonce, body)),
    }
