"""Records become contract calls, or are refused with the field named."""

from __future__ import annotations

import pytest

from coordinator.chain.items import Failure, Leg, MalformedRecord, Opening, Settlement, read_item, same_result
from coordinator.protocol.hashing import unhex
from tests.fakes.chain_tasks import Task

TASK = Task(1)
COMPLETED = TASK.submitted() | TASK.completed()
FAILED = TASK.submitted() | TASK.failed()


def test_each_leg_has_its_item() -> None:
    assert read_item(Leg.OPENING, TASK.submitted()) == Opening(TASK.key, TASK.request_hash)
    assert isinstance(read_item(Leg.SETTLEMENT, COMPLETED), Settlement)
    assert read_item(Leg.SETTLEMENT, FAILED) == Failure(TASK.key, TASK.request_hash, "UPSTREAM_TIMEOUT")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task_key", "0x12"),
        ("request_hash", ""),
        ("response_hash", "0x" + "GG" * 32),
        ("node", "0x1234"),
        ("attempt", "-1"),
        ("prompt_tokens", str(2**32)),
        ("completion_tokens", "٣"),
        ("started_at_ms", "1.5"),
        ("finished_at_ms", str(2**64)),
        ("payment_wei", str(2**88)),
        ("signature", "0x00"),
        ("outcome", "perhaps"),
    ],
)
def test_a_malformed_field_is_named(field: str, value: str) -> None:
    with pytest.raises(MalformedRecord, match=field):
        read_item(Leg.SETTLEMENT, COMPLETED | {field: value})
    with pytest.raises(MalformedRecord, match=field):
        read_item(Leg.SETTLEMENT, {key: kept for key, kept in COMPLETED.items() if key != field})


@pytest.mark.parametrize("code", ["", "A" * 33, "ÄRGER"])
def test_a_failure_code_fits_its_slot(code: str) -> None:
    with pytest.raises(MalformedRecord, match="code"):
        read_item(Leg.SETTLEMENT, FAILED | {"code": code})


def test_what_the_chain_holds_is_compared_with_what_we_wanted() -> None:
    completed, failed = read_item(Leg.SETTLEMENT, COMPLETED), read_item(Leg.SETTLEMENT, FAILED)
    assert same_result(completed, unhex(TASK.response_hash))
    assert same_result(failed, b"UPSTREAM_TIMEOUT".ljust(32, b"\0"))
    assert not same_result(completed, bytes(32))
    assert not same_result(failed, b"UPSTREAM_ERROR".ljust(32, b"\0"))
    assert not same_result(read_item(Leg.OPENING, COMPLETED), bytes(32))
