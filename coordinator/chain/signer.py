"""The coordinator's key on chain. One process holds it, and signs one transaction after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes

from coordinator.chain.errors import StartRefused

_KEY = re.compile(r"^(0x)?[0-9a-fA-F]{64}$")


def read_key(path: Path, setting: str = "RELAY_CHAIN_KEY_FILE") -> LocalAccount:
    """The account of a file that holds a private key as hex. Raises StartRefused; the key is in no message."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartRefused(setting, f"{path} can't be read ({type(error).__name__})", "Name a readable file.") from None
    if path.stat().st_mode & 0o077:
        raise StartRefused(setting, f"{path} can be read by others", f"Run: chmod 600 {path}")
    if not _KEY.fullmatch(text):
        raise StartRefused(setting, f"{path} holds no private key", "It must hold 64 hexadecimal digits.")
    account: LocalAccount = Account.from_key(text)
    return account


class RegistrySigner:
    """`chain.ports.Signer`: signs calls of one registry on one chain."""

    def __init__(self, account: LocalAccount, chain_id: int, registry: str) -> None:
        self._account, self._chain_id, self._registry = account, chain_id, to_checksum_address(registry)

    @property
    def address(self) -> str:
        return str(self._account.address)

    def sign(self, data: str, nonce: int, gas: int, max_fee: int, tip: int) -> tuple[str, str]:
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": self._chain_id,
            "to": self._registry,
            "value": 0,
            "data": data,
            "nonce": nonce,
            "gas": gas,
            "maxFeePerGas": max_fee,
            "maxPriorityFeePerGas": tip,
        }
        signed = self._account.sign_transaction(transaction)
        return "0x" + bytes(signed.raw_transaction).hex(), "0x" + bytes(signed.hash).hex()

    def data_of(self, raw: str) -> str:
        return "0x" + bytes(HexBytes(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["data"])).hex()
