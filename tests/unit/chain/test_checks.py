"""Whatever a relay lies about, and whatever a chain says otherwise, a check fails."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from coordinator.chain.checks import OnChain, checks
from coordinator.chain.ports import Place, TaskStatus
from coordinator.chain.verify import table
from tests.fakes.chain_proofs import proof_of
from tests.fakes.chain_tasks import NODE, Task

TASK = Task(1, sign=True)
OTHER = Task(2, sign=True)
ZERO = "0x" + "00" * 32
RECORD = {"settlement": "confirmed", "settlement_tx": "0x" + "ab" * 32, "settlement_block": "7", "settlement_gas": "9"}
PROOF = proof_of(TASK, RECORD)
FAILED = proof_of(TASK, RECORD, code="UPSTREAM_TIMEOUT")
CHAIN = OnChain(
    space=TASK.space,
    predicted=TASK.address,
    status=TaskStatus.COMPLETED,
    task_key=TASK.key,
    request_hash=TASK.request_hash,
    response_hash=TASK.response_hash,
    failure_code="",
    node=NODE,
    payment_wei=TASK.payment_wei,
    registry=TASK.space.task_registry,
    settled_at=Place(RECORD["settlement_tx"], 7),
)
CHAIN_FAILED = replace(
    CHAIN,
    status=TaskStatus.FAILED,
    response_hash=ZERO,
    failure_code="UPSTREAM_TIMEOUT",
    node="0x" + "00" * 20,
    payment_wei=0,
)
# what a relay might put there instead
LIES: dict[str, Any] = {
    "task_id": OTHER.id,
    "status": "failed",
    "chain_id": 1,
    "task_registry": OTHER.address,
    "implementation": OTHER.address,
    "task_address": OTHER.address,
    "salt": "0x" + OTHER.salt.hex(),
    "task_key": OTHER.key,
    "request": '{"messages": [1]}',
    "request_hash": OTHER.request_hash,
    "answer": '{"choices": [1]}',
    "response_hash": OTHER.response_hash,
    "attempt": 2,
    "node": OTHER.address,
    "receipt": OTHER.receipt.model_dump(),
    "receipt_signature": OTHER.signature,
    "settlement": PROOF["settlement"] | {"tx_hash": ZERO},
    "payment_wei": 5,
}


def failing(proof: dict[str, Any], chain: OnChain) -> set[str]:
    return {check.name for check in checks(proof, chain) if not check.ok}


def test_an_honest_relay_passes() -> None:
    assert failing(PROOF, CHAIN) == set()
    assert failing(PROOF | {"payment_wei": TASK.payment_wei}, CHAIN) == set()
    assert failing(FAILED, CHAIN_FAILED) == set()
    assert failing(PROOF, replace(CHAIN, settled_at=None)) == set()


@pytest.mark.parametrize("field", LIES)
def test_every_lie_is_found(field: str) -> None:
    assert failing(PROOF | {field: LIES[field]}, CHAIN)


def test_every_field_of_a_proof_is_checked() -> None:
    """`coordinator` is checked by the address it gives, which the chain's reader computes; `error_code` below."""
    assert set(LIES) - {"payment_wei"} == set(PROOF) - {"coordinator", "error_code", "opening"}
    assert failing(FAILED | {"error_code": "NO_CAPACITY"}, CHAIN_FAILED) == {"chain: failure code"}


@pytest.mark.parametrize("field", [field.name for field in fields(OnChain)])
def test_every_fact_of_the_chain_counts(field: str) -> None:
    otherwise: dict[str, Any] = {
        "space": replace(TASK.space, coordinator=OTHER.address),
        "status": TaskStatus.OPEN,
        "failure_code": "",
        "payment_wei": 1,
        "settled_at": Place(ZERO, 8),
    }
    proof, chain = (FAILED, CHAIN_FAILED) if field == "failure_code" else (PROOF | {"payment_wei": 1000}, CHAIN)
    assert failing(proof, replace(chain, **{field: otherwise.get(field, OTHER.address)}))


@pytest.mark.parametrize("field", [name for name in TASK.receipt.model_dump() if name != "task"])
def test_every_word_of_the_receipt_is_signed(field: str) -> None:
    receipt = PROOF["receipt"]
    changed = receipt[field] + 1 if isinstance(receipt[field], int) else ZERO
    assert "receipt: signed by the node" in failing(PROOF | {"receipt": receipt | {field: changed}}, CHAIN)


@pytest.mark.parametrize("signature", ["0x00", "", "0x" + "ff" * 65])
def test_a_malformed_signature_is_a_failed_check(signature: str) -> None:
    assert failing(PROOF | {"receipt_signature": signature}, CHAIN) == {"receipt: signed by the node"}


def test_the_table_says_what_differs() -> None:
    text = table(checks(PROOF | {"node": OTHER.address}, CHAIN))
    assert text.splitlines()[0].split() == ["check", "expected", "found", "ok"]
    assert "2 DO NOT HOLD" in text
    assert f"{OTHER.address}" in text
    assert "all hold" in table(checks(PROOF, CHAIN))
    assert max(len(line) for line in table(checks(PROOF, CHAIN)).splitlines()) < 132
