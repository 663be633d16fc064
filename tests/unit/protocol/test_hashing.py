"""Digests and addresses, checked against independent implementations."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from coordinator.protocol import hashing, signing
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Receipt

KEY = PrivateKey(bytes(31) + b"\x07")
ADDRESS = str(KEY.public_key.to_checksum_address())
words = st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
addresses = st.binary(min_size=20, max_size=20).map(to_checksum_address)
receipts = st.builds(
    Receipt, task=addresses, attempt=st.integers(1, 2**32 - 1), request_hash=words, response_hash=words,
    prompt_tokens=st.integers(0, 2**32 - 1), completion_tokens=st.integers(0, 2**32 - 1),
    started_at_ms=st.integers(0, 2**64 - 1), finished_at_ms=st.integers(0, 2**64 - 1),
)  # fmt: skip


@given(receipts, st.integers(1, 2**63), addresses)
def test_the_receipt_digest_is_eip_712(receipt: Receipt, chain_id: int, registry: str) -> None:
    """eth-account builds the same from the type's description."""
    kinds = [part.split(" ") for part in hashing.RECEIPT_TYPE[len("Receipt(") : -1].split(",")]
    values = [
        receipt.task, receipt.attempt, hashing.unhex(receipt.request_hash),
        hashing.unhex(receipt.response_hash),
        receipt.prompt_tokens, receipt.completion_tokens, receipt.started_at_ms, receipt.finished_at_ms,
    ]  # fmt: skip
    message = encode_typed_data(
        {"name": "OpenGPU Relay", "version": "1", "chainId": chain_id, "verifyingContract": registry},
        {"Receipt": [{"name": name, "type": kind} for kind, name in kinds]},
        dict(zip((name for _, name in kinds), values, strict=True)),
    )
    expected = keccak(b"\x19" + message.version + message.header + message.body)
    assert hashing.receipt_digest(chain_id, registry, receipt) == expected


def test_a_signature_is_what_wallets_make_and_recovers() -> None:
    digest = keccak(b"anything")
    signature = signing.sign_digest(KEY, digest)
    assert signing.recover(digest, signature) == ADDRESS
    assert Account._recover_hash(digest, signature=signature) == ADDRESS


def test_the_other_signature_of_a_pair_is_none() -> None:
    """Who has r, s has r, n - s as well. The contract takes the lower alone: what it refuses must not pass here."""
    digest = keccak(b"anything")
    raw = bytes.fromhex(signing.sign_digest(KEY, digest)[2:])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    upper = (order - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big")
    other = "0x" + (raw[:32] + upper + bytes([27 + 28 - raw[64]])).hex()
    assert Account._recover_hash(digest, signature=other) == ADDRESS
    with pytest.raises(signing.SignatureMismatch):
        signing.recover(digest, other)


@given(st.binary(max_size=70))
def test_what_is_no_signature_is_refused(noise: bytes) -> None:
    with contextlib.suppress(signing.SignatureMismatch):
        assert signing.recover(keccak(b"x"), "0x" + noise.hex()) != ADDRESS


def test_a_request_signature_covers_everything() -> None:
    headers = signing.sign_request(KEY, "POST", "/v2/node/reports", b"body", "relay.example.org")
    moment, nonce = int(headers[signing.TIME_HEADER]), headers[signing.NONCE_HEADER]

    def signer(*signed: Any) -> str:
        return signing.recover(signing.request_digest(*signed), headers[signing.SIGNATURE_HEADER])

    whole = ("relay.example.org", "POST", "/v2/node/reports", moment, nonce, b"body")
    assert signer(*whole) == ADDRESS
    others = ("relay.example.com", "PUT", "/v2/node/leave", moment + 1, "0" * 32, b"body ")
    for place, other in enumerate(others):
        assert signer(*whole[:place], other, *whole[place + 1 :]) != ADDRESS


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        ("https://Relay.example.org/base", "relay.example.org"),
        ("https://relay.example.org:443", "relay.example.org"),
        ("https://relay.example.org:8443", "relay.example.org:8443"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:80/", "[::1]"),
    ],
)
def test_an_audience_is_host_and_port(url: str, audience: str) -> None:
    assert signing.audience(url) == audience


def test_an_address_depends_on_everything_that_fixes_it() -> None:
    space = hashing.TaskSpace(31337, "0x" + "01" * 20, "0x" + "02" * 20, "0x" + "03" * 20)
    key, request, other = "0x" + "04" * 32, "0x" + "05" * 32, "0x" + "07" * 20
    found = {
        space.task_address(key, request),
        space.task_address("0x" + "06" * 32, request),
        space.task_address(key, "0x" + "06" * 32),
        replace(space, task_registry=other).task_address(key, request),
        replace(space, implementation=other).task_address(key, request),
        replace(space, coordinator=other).task_address(key, request),
    }
    assert len(found) == 6


def test_the_task_id_is_not_in_its_key_without_the_salt() -> None:
    task = TaskId("opengpu:00000000-0000-4000-8000-000000000000")
    assert hashing.task_key(bytes(32), task) != hashing.task_key(b"\x01" + bytes(31), task)
