"""Secrets that the network makes for itself, once: each a file of mode 0600 under DIR/keys or DIR/nodes."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from eth_keys.datatypes import PrivateKey

from scripts.network.home import write_secret


def remembered(path: Path, make: Callable[[], str]) -> str:
    """What `path` holds; made and kept there the first time."""
    if not path.exists():
        write_secret(path, make() + "\n")
    return path.read_text().strip()


def password(path: Path) -> str:
    return remembered(path, lambda: secrets.token_urlsafe(32))


def account(path: Path) -> str:
    """The checksummed address of the key in `path`."""
    return str(private_key(path).public_key.to_checksum_address())


def private_key(path: Path) -> PrivateKey:
    """0x-hex in `path`."""
    return PrivateKey(bytes.fromhex(remembered(path, _new_key).removeprefix("0x")))


def _new_key() -> str:
    """32 random bytes; that they are no valid key has a chance of 2^-128."""
    return "0x" + secrets.token_hex(32)
