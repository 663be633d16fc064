"""The node's key: one file, readable by its owner alone, holding a secp256k1 private key as 0x-hex.

The key's address is the node's name everywhere, and the account that is paid.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from eth_keys.datatypes import PrivateKey
from eth_keys.exceptions import ValidationError


class KeyFileError(Exception):
    """The key file can't be used; the message says why and what to do, and never shows the key."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`address` is EIP-55 checksummed."""

    key: PrivateKey = field(repr=False)
    address: str

    @classmethod
    def of(cls, key: PrivateKey) -> Identity:
        return cls(key, key.public_key.to_checksum_address())


def create_key(path: Path) -> Identity:
    """Makes a new key in a new file of mode 0600. Raises KeyFileError when the file exists or can't be written."""
    key = PrivateKey(_random_scalar())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        if path.exists():
            raise KeyFileError(f"{path} exists already: a key is never overwritten, choose another file") from error
        raise KeyFileError(f"{path} can't be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{key}\n")
        file.flush()
        os.fsync(file.fileno())
    return Identity.of(key)


def load_key(path: Path) -> Identity:
    """Raises KeyFileError when the file is missing, readable by others, or holds no key."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise KeyFileError(f"{path} is not a file")
        if mode & 0o077:
            raise KeyFileError(f"{path} can be read by others (mode {mode & 0o777:04o}): run chmod 600 {path}")
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise KeyFileError(f"{path} does not exist: make a key with python -m node key --out {path}") from error
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path} holds no key: expected 0x and 64 hexadecimal digits") from error
    except OSError as error:
        raise KeyFileError(f"{path} can't be read: {error.strerror}") from error
    return Identity.of(_parse(path, text))


def _parse(path: Path, text: str) -> PrivateKey:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
        if len(raw) != 32:
            raise ValueError("length")
        key = PrivateKey(raw)
        _ = key.public_key  # fails for 0 and for numbers past the curve's order
    except (ValueError, ValidationError):
        # not chained: the cause may show what stood in the file
        raise KeyFileError(f"{path} holds no key: expected 0x and 64 hexadecimal digits") from None
    return key


def _random_scalar() -> bytes:
    """32 random bytes that are a private key: all but one in 2^128 are."""
    while True:
        raw = secrets.token_bytes(32)
        try:
            _ = PrivateKey(raw).public_key
        except (ValueError, ValidationError):  # pragma: no cover
            continue
        return raw
