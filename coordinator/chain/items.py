"""What goes on chain for one task, as typed values, read from its record in the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from eth_utils.address import is_hex_address

from coordinator.protocol.hashing import unhex
from coordinator.protocol.ids import BYTES32, SIGNATURE

_UINT32, _UINT64 = 2**32 - 1, 2**64 - 1
# One slot of the contract holds node, payment and status: 88 bits are left for the payment.
MAX_PAYMENT_WEI = 2**88 - 1
_CODE = re.compile(r"^[\x20-\x7e]{1,32}$")


class Leg(StrEnum):
    """The two writes of a record. The values are the field names in the record."""

    OPENING = "opening"
    SETTLEMENT = "settlement"


class Kind(StrEnum):
    """The contract's function that a batch calls."""

    OPEN = "open"
    SETTLE = "settle"
    FAIL = "fail"

    @property
    def leg(self) -> Leg:
        return Leg.OPENING if self is Kind.OPEN else Leg.SETTLEMENT


@dataclass(frozen=True, slots=True)
class Opening:
    task_key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the node signed, and the payment in wei that the coordinator adds. Times in unix milliseconds."""

    task_key: str
    request_hash: str
    response_hash: str
    node: str
    attempt: int
    prompt_tokens: int
    completion_tokens: int
    started_at_ms: int
    finished_at_ms: int
    payment_wei: int
    signature: str


@dataclass(frozen=True, slots=True)
class Failure:
    """`code` is the error code, at most 32 ASCII characters."""

    task_key: str
    request_hash: str
    code: str


Item = Opening | Settlement | Failure


class MalformedRecord(ValueError):
    """A record that no contract call can be made of: a bug, or a hand in the store. Names the field."""


def kind_of(item: Item) -> Kind:
    if isinstance(item, Opening):
        return Kind.OPEN
    return Kind.SETTLE if isinstance(item, Settlement) else Kind.FAIL


def read_item(leg: Leg, record: Mapping[str, str]) -> Item:
    """The item of one leg. Raises MalformedRecord."""
    key, request_hash = _bytes32(record, "task_key"), _bytes32(record, "request_hash")
    if leg is Leg.OPENING:
        return Opening(key, request_hash)
    if record.get("outcome") == "failed":
        return Failure(key, request_hash, _matching(record, "code", _CODE))
    if record.get("outcome") != "completed":
        raise MalformedRecord("outcome is neither completed nor failed")
    return Settlement(
        task_key=key,
        request_hash=request_hash,
        response_hash=_bytes32(record, "response_hash"),
        node=_node(record),
        attempt=_number(record, "attempt", _UINT32),
        prompt_tokens=_number(record, "prompt_tokens", _UINT32),
        completion_tokens=_number(record, "completion_tokens", _UINT32),
        started_at_ms=_number(record, "started_at_ms", _UINT64),
        finished_at_ms=_number(record, "finished_at_ms", _UINT64),
        payment_wei=_number(record, "payment_wei", MAX_PAYMENT_WEI),
        signature=_matching(record, "signature", SIGNATURE),
    )


def code_bytes(code: str) -> bytes:
    """A failure code as the contract stores it: left-aligned ASCII in 32 bytes."""
    return code.encode("ascii").ljust(32, b"\0")


def same_result(item: Item, result: bytes) -> bool:
    """Whether the 32 bytes that the registry holds of a closed task (response hash or failure code) are this item's."""
    if isinstance(item, Settlement):
        return unhex(item.response_hash) == result
    return isinstance(item, Failure) and code_bytes(item.code) == result


def _matching(record: Mapping[str, str], field: str, pattern: re.Pattern[str]) -> str:
    value = record.get(field, "")
    if not pattern.fullmatch(value):
        raise MalformedRecord(f"{field} is missing or malformed")
    return value


def _bytes32(record: Mapping[str, str], field: str) -> str:
    return _matching(record, field, BYTES32)


def _node(record: Mapping[str, str]) -> str:
    value = record.get("node", "")
    if not is_hex_address(value):
        raise MalformedRecord("node is missing or no address")
    return value


def _number(record: Mapping[str, str], field: str, most: int) -> int:
    value = record.get(field, "")
    if not value.isascii() or not value.isdigit() or int(value) > most:
        raise MalformedRecord(f"{field} is missing or out of range")
    return int(value)
