from __future__ import annotations

import os
from pathlib import Path

import pytest
from eth_keys.datatypes import PrivateKey

from node.identity import Identity, KeyFileError, create_key, load_key


def test_a_new_key_is_its_owners_alone_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "node.key"
    made = create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path) == made
    assert PrivateKey(bytes.fromhex(path.read_text().strip()[2:])) == made.key


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    made = create_key(tmp_path / "key")
    with pytest.raises(KeyFileError, match="exists already"):
        create_key(tmp_path / "key")
    assert load_key(tmp_path / "key") == made


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="can't be written"):
        create_key(tmp_path / "file" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    create_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_key(tmp_path / "key")


@pytest.mark.parametrize(
    "text", ["", "0x", "hello", "0x" + "0" * 64, "0x" + "f" * 64, "0x" + "1" * 63, "0x" + "1" * 66, "é" * 64]
)
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(KeyFileError, match="holds no key") as refused:
        load_key(path)
    assert len(text) < 63 or text not in str(refused.value)


def test_missing_and_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="python -m node key"):
        load_key(tmp_path / "none")
    with pytest.raises(KeyFileError, match="is not a file"):
        load_key(tmp_path)


def test_a_key_without_prefix_and_with_spaces_around(tmp_path: Path) -> None:
    path = tmp_path / "key"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, b"\n" + b"11" * 32 + b"  \n")
    os.close(descriptor)
    assert load_key(path).address == PrivateKey(b"\x11" * 32).public_key.to_checksum_address()


def test_the_key_is_not_in_the_representation() -> None:
    identity = Identity.of(PrivateKey(b"\x11" * 32))
    assert "11" * 32 not in repr(identity)
    assert identity.address in repr(identity)
