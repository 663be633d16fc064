from __future__ import annotations

from pathlib import Path

import pytest
from eth_account import Account
from hexbytes import HexBytes

from coordinator.chain.errors import StartRefused
from coordinator.chain.signer import RegistrySigner, read_key
from tests.fakes.chain import SPACE

KEY = "0x" + "11" * 32


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return path


def test_what_is_signed_can_be_signed_again(key_file: Path) -> None:
    account = read_key(key_file)
    signer = RegistrySigner(account, 31337, SPACE.task_registry)
    raw, tx_hash = signer.sign("0x1234", 7, 100_000, 50, 2)
    assert signer.data_of(raw) == "0x1234"
    assert Account.recover_transaction(raw) == account.address == signer.address
    assert HexBytes(tx_hash) == HexBytes(signer.sign("0x1234", 7, 100_000, 50, 2)[1])
    assert signer.sign("0x1234", 7, 100_000, 60, 3)[1] != tx_hash


@pytest.mark.parametrize("text", ["", "0x12", "z" * 64, KEY + "11"])
def test_no_key_is_refused_without_being_shown(key_file: Path, text: str) -> None:
    key_file.write_text(text)
    with pytest.raises(StartRefused, match="RELAY_CHAIN_KEY_FILE") as refused:
        read_key(key_file)
    assert not text or text not in str(refused.value)


def test_a_key_that_others_can_read_is_refused(key_file: Path) -> None:
    key_file.chmod(0o644)
    with pytest.raises(StartRefused, match="chmod 600"):
        read_key(key_file)
    with pytest.raises(StartRefused, match="can't be read"):
        read_key(key_file.with_name("none"))
