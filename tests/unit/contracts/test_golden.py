"""The receipt that contracts/test/Settle.t.sol hashes on chain, hashed and signed by eth-account: both must agree."""

import json
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data

from contracts import ROOT

FIELDS = {
    "task": "address",
    "attempt": "uint32",
    "requestHash": "bytes32",
    "responseHash": "bytes32",
    "promptTokens": "uint32",
    "completionTokens": "uint32",
    "startedAt": "uint64",
    "finishedAt": "uint64",
}


def test_the_golden_receipt_is_what_eth_account_signs() -> None:
    golden: dict[str, Any] = json.loads((ROOT / "test" / "golden" / "receipt.json").read_text(encoding="utf-8"))
    message = encode_typed_data(
        {
            "name": "OpenGPU Relay",
            "version": "1",
            "chainId": golden["chainId"],
            "verifyingContract": golden["registry"],
        },
        {"Receipt": [{"name": name, "type": kind} for name, kind in FIELDS.items()]},
        {name: golden[name] for name in FIELDS},
    )
    signed = Account.sign_message(message, golden["nodeKey"])
    assert "0x" + bytes(signed.message_hash).hex() == golden["digest"]
    assert "0x" + bytes(signed.signature).hex() == golden["signature"]
