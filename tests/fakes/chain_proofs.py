"""Proofs as GET /v2/tasks/{id}/proof gives them."""

from __future__ import annotations

from typing import Any

from tests.fakes.chain_tasks import ANSWER, NODE, REQUEST, Task


def proof_of(task: Task, record: dict[str, str] | None = None, *, code: str | None = None) -> dict[str, Any]:
    """Of a completed task, or with `code` of a failed one. `record` fills in what the chain writer has noted."""
    record, completed = record or {}, code is None
    return {
        "task_id": task.id,
        "status": "completed" if completed else "failed",
        "chain_id": task.space.chain_id,
        "task_registry": task.space.task_registry,
        "implementation": task.space.implementation,
        "coordinator": task.space.coordinator,
        "task_address": task.address,
        "salt": "0x" + task.salt.hex(),
        "task_key": task.key,
        "request": REQUEST.decode(),
        "request_hash": task.request_hash,
        "answer": ANSWER.decode() if completed else None,
        "response_hash": task.response_hash if completed else None,
        "attempt": task.attempt,
        "node": NODE if completed else None,
        "receipt": task.receipt.model_dump() if completed else None,
        "receipt_signature": task.signature if completed else None,
        "error_code": code,
        "opening": _leg(record, "opening"),
        "settlement": _leg(record, "settlement"),
    }


def _leg(record: dict[str, str], leg: str) -> dict[str, Any]:
    block, gas = record.get(f"{leg}_block"), record.get(f"{leg}_gas")
    return {
        "status": record.get(leg, "pending"),
        "tx_hash": record.get(f"{leg}_tx"),
        "block_number": int(block) if block else None,
        "gas_used": int(gas) if gas else None,
    }
