"""The provider's key: a file of hex that its owner alone can read, or an encrypted keystore as wallets write them."""

from __future__ import annotations

import getpass
import json
import re
import sys
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from node.staking.errors import StakingError

_HEX = re.compile(r"(0x)?[0-9a-fA-F]{64}")


def load_account(path: Path, password_file: Path | None) -> LocalAccount:
    """Asks the terminal for a keystore's password unless there is a file with it. Raises StakingError."""
    try:
        text = path.read_text(encoding="utf-8").strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise StakingError(f"{path} can't be read ({type(error).__name__}): name the provider's key file.") from None
    if text.startswith("{"):
        return _unlock(path, text, _password(path, password_file))
    if mode & 0o077:
        raise StakingError(f"{path} can be read by others (mode {mode & 0o777:04o}): run chmod 600 {path}")
    if not _HEX.fullmatch(text):
        raise StakingError(f"{path} holds no key: expected 64 hexadecimal digits, or an encrypted JSON keystore.")
    try:
        account: LocalAccount = Account.from_key(text)
    except ValueError:  # past the curve's order; not chained, the cause may show the key
        raise StakingError(f"{path} holds no key of this curve.") from None
    return account


def _password(path: Path, file: Path | None) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise StakingError("NODE_PROVIDER_PASSWORD_FILE can't be read: name the file with the password.") from None
    if not sys.stdin.isatty():
        raise StakingError(f"{path} is encrypted: set NODE_PROVIDER_PASSWORD_FILE, or run this in a terminal.")
    return getpass.getpass(f"Password of {path}: ")


def _unlock(path: Path, text: str, password: str) -> LocalAccount:
    try:
        account: LocalAccount = Account.from_key(Account.decrypt(json.loads(text), password))
    except ValueError as error:
        if "MAC" in str(error):
            raise StakingError(f"The password of {path} is wrong.") from None
        raise StakingError(f"{path} is no keystore that can be read here.") from None
    except (KeyError, TypeError, NotImplementedError):
        raise StakingError(f"{path} is no keystore that can be read here.") from None
    return account
