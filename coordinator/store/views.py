"""What Redis holds of a task, read as what may be shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from coordinator.lifecycle.task import ChainEntry, Place, TaskState, TaskView
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Receipt

# `show` in lua/line_prelude.lua wants these three first.
_FIRST: Final = ("state", "mode", "model")
LISTED: Final = (
    *_FIRST,
    "created_ms",
    "ended_ms",
    "task_address",
    "error_code",
    "error_message",
    "error_status",
    "attempt",
    "node",
    "receipt",
)
SHOWN: Final = (*LISTED, "answer")
PROVEN: Final = (
    *_FIRST,
    "salt",
    "task_key",
    "request",
    "request_hash",
    "task_address",
    "answer",
    "response_hash",
    "attempt",
    "node",
    "receipt",
    "receipt_signature",
    "error_code",
)
# What `show` puts before the fields.
_STANDING: Final = 7

Row = Sequence[bytes | int | None]


def fields(row: Row, names: Sequence[str]) -> dict[str, bytes]:
    """Those that are there."""
    values = zip(names, row[_STANDING:], strict=True)
    return {name: value for name, value in values if isinstance(value, bytes)}


def view(task_id: TaskId, row: Row, names: Sequence[str], now: datetime) -> TaskView:
    found = fields(row, names)

    def text(name: str) -> str | None:
        return found[name].decode() if found.get(name) else None

    return TaskView(
        task_id=task_id,
        state=TaskState(found["state"].decode()),
        mode=found["mode"].decode(),
        model=found["model"].decode(),
        created_at=moment(found["created_ms"]),
        now=now,
        ended_at=moment(found["ended_ms"]) if found.get("ended_ms") else None,
        task_address=text("task_address"),
        answer=found.get("answer"),
        error_code=text("error_code"),
        error_message=text("error_message"),
        error_status=int(found["error_status"]) if found.get("error_status") else None,
        attempt=int(found["attempt"]),
        node=_node(text("node")),
        receipt=Receipt.model_validate_json(found["receipt"]) if found.get("receipt") else None,
        queue=_place(row),
        chain=_entry(row),
    )


def moment(milliseconds: bytes) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _place(row: Row) -> Place | None:
    position, waiting_for, wait_ms = row[:3]
    if position is None or not isinstance(waiting_for, bytes):
        return None
    least = min(int(position), 1)
    wait = None if wait_ms is None else max(least, round(int(wait_ms) / 1000))
    return Place(int(position), waiting_for.decode(), wait)


def _entry(row: Row) -> ChainEntry | None:
    status, tx_hash, block, head = row[3:_STANDING]
    if not isinstance(status, bytes):
        return None
    number = int(block) if block else None
    # mined, it has one at least: the chain writer may have looked at the head before
    depth = max(int(head or 0) - number + 1, 1) if number is not None else 0
    return ChainEntry(status.decode(), tx_hash.decode() if isinstance(tx_hash, bytes) else None, number, depth)


def _node(holder: str | None) -> str | None:
    """Direct tasks are held by API processes, which are nobody's business."""
    return holder if holder and holder.startswith("0x") else None
