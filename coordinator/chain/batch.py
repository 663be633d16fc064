"""A batch: one transaction that carries one leg of many records, and what it takes to send it again after a crash."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from coordinator.chain.items import Kind
from coordinator.protocol.ids import TaskId


@dataclass(frozen=True, slots=True)
class Member:
    """One task in a batch. `due_ms` is its place in the outbox, to which it returns when the batch comes to nothing."""

    task_id: TaskId
    task_address: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Signed:
    """One signed form of a batch. All forms share the nonce, so at most one of them is mined. Fees in wei a gas."""

    tx_hash: str
    max_fee: int
    tip: int


@dataclass(frozen=True, slots=True)
class Mined:
    """Where the chain has it. `block_hash` tells later whether that block is still part of the chain."""

    tx_hash: str
    block_number: int
    block_hash: str
    gas_used: int


@dataclass(frozen=True, slots=True)
class Batch:
    """`raw` is the newest signed form, broadcast as it is; it is dropped once mined. Times in unix milliseconds."""

    id: str
    kind: Kind
    nonce: int
    gas: int
    members: tuple[Member, ...]
    signed: tuple[Signed, ...]
    raw: str
    created_ms: int
    signed_ms: int
    mined: Mined | None = None

    @property
    def newest(self) -> Signed:
        return self.signed[-1]

    @property
    def tx_hashes(self) -> tuple[str, ...]:
        """Newest first: it is the likeliest to be mined."""
        return tuple(form.tx_hash for form in reversed(self.signed))

    def resigned(self, form: Signed, raw: str, now_ms: int) -> Batch:
        return replace(self, signed=(*self.signed, form), raw=raw, signed_ms=now_ms)

    def as_mined(self, mined: Mined, members: tuple[Member, ...]) -> Batch:
        return replace(self, mined=mined, members=members, raw="")

    def to_json(self) -> bytes:
        return orjson.dumps({**asdict(self), "leg": self.kind.leg, "id": self.id})

    @staticmethod
    def from_json(text: bytes) -> Batch:
        stored: dict[str, Any] = orjson.loads(text)
        del stored["leg"]
        mined = stored.pop("mined")
        return Batch(
            **{
                **stored,
                "kind": Kind(stored["kind"]),
                "members": tuple(Member(**member) for member in stored["members"]),
                "signed": tuple(Signed(**form) for form in stored["signed"]),
                "mined": Mined(**mined) if mined else None,
            }
        )
