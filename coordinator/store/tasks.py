"""Tasks in Redis: admitted, read, reported on, swept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from redis.asyncio import Redis

from coordinator.errors import (
    CapacityExhausted,
    ProviderUnavailable,
    RelayError,
    TaskExpired,
    TaskNotFound,
)
from coordinator.lifecycle.order import Commitment, Order, Terms
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.task import TaskState, TaskView
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Receipt, Refusal
from coordinator.store.scripts import Scripts, milliseconds, texts, unavailable

_SHOWN = [
    "state",
    "mode",
    "model",
    "created_ms",
    "ended_ms",
    "task_address",
    "answer",
    "error_code",
    "error_message",
    "error_status",
    "attempt",
    "node",
    "receipt",
]
_PROVEN = [
    "state",
    "mode",
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
]


@dataclass(frozen=True, slots=True)
class Swept:
    lost: list[str]
    given_up: list[str]
    dead: list[str]


class TaskStore:
    """Every method is one or two round trips. Raises StoreUnavailable when Redis can't be reached."""

    def __init__(self, redis: Redis, scripts: Scripts, policy: Policy) -> None:
        self._redis, self._scripts, self._policy = redis, scripts, policy

    async def submit(self, task_id: TaskId, order: Order, commitment: Commitment | None) -> TaskView:
        """Durable when it returns (appendfsync always). Raises ProviderUnavailable, CapacityExhausted."""
        links = (
            (commitment.salt, commitment.task_key, commitment.request_hash, commitment.task_address)
            if commitment
            else ("", "", "", "")
        )
        timeout = milliseconds(self._policy.task_timeout)
        what, now_ms = await self._scripts.call(
            "submit", task_id, order.mode, order.model, order.caller, order.request, *links, timeout
        )
        if what == b"no_node":
            raise ProviderUnavailable(
                f"No live node serves the model {order.model!r} now. Try again later, or use mode 'direct'."
            )
        if what == b"full":
            raise CapacityExhausted(f"The line for the model {order.model!r} is full. Try again later.")
        if what == b"exists":
            return await self.read(task_id)
        now, address = _moment(now_ms), commitment.task_address if commitment else None
        return TaskView(task_id, TaskState(what.decode()), order.mode, order.model, now, now, task_address=address)

    async def read(self, task_id: TaskId) -> TaskView:
        """Raises TaskNotFound, TaskExpired."""
        row, now = await self._fields(task_id, _SHOWN)
        return _view(task_id, row, now)

    async def proof(self, task_id: TaskId) -> Mapping[str, bytes]:
        """The fields that a proof is made of, those that are there. Raises TaskNotFound, TaskExpired."""
        row, _ = await self._fields(task_id, _PROVEN)
        return row

    async def record(self, task_id: TaskId) -> dict[str, str]:
        with unavailable():
            row = await self._redis.hgetall(f"relay:record:{task_id}")
        return texts(row)

    async def terms(self, task_id: TaskId) -> Terms | None:
        """None for an unknown task."""
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hmget(f"relay:task:{task_id}", "salt", "request_hash", "task_address")
            pipe.hstrlen(f"relay:task:{task_id}", "request")
            (salt, request_hash, address), length = await pipe.execute()
        if salt is None:
            return None
        return Terms(salt.decode(), request_hash.decode(), address.decode(), length)

    async def complete(
        self, task_id: TaskId, attempt: int, node: str, answer: str, receipt: Receipt, signature: str, payment_wei: int
    ) -> Refusal | None:
        """The result, if this attempt is still the one. The caller has checked the receipt."""
        said = await self._scripts.call(
            "report", task_id, attempt, node, "completed",
            answer, receipt.response_hash, receipt.model_dump_json(), signature,
            receipt.prompt_tokens, receipt.completion_tokens, receipt.started_at_ms,
            receipt.finished_at_ms, payment_wei,
        )  # fmt: skip
        return None if said == b"OK" else Refusal(said.decode())

    async def give_up_attempt(
        self,
        task_id: TaskId,
        attempt: int,
        node: str,
        how: Literal["refused", "fault", "handed_back"],
        error: RelayError,
    ) -> Refusal | None:
        """Ends the task (refused) or gives it to another node; `error` is the client's if this was the last try."""
        said = await self._scripts.call(
            "report", task_id, attempt, node, how, error.code, error.message, str(error.status)
        )
        return None if said == b"OK" else Refusal(said.decode())

    async def keep(self, task_id: TaskId, order: Order, started_at: datetime, outcome: bytes | RelayError) -> None:
        """A synchronous direct call that has ended, for polling."""
        end: tuple[str | bytes, ...] = ("completed", outcome, "", "", "") if isinstance(outcome, bytes) else (
            "failed", "", outcome.code, outcome.message, str(outcome.status)
        )  # fmt: skip
        created = round(started_at.timestamp() * 1000)
        await self._scripts.call("keep", task_id, order.model, order.caller, order.request, created, *end)

    async def sweep(self, limit: int = 200) -> Swept:
        """Lost leases, passed deadlines, dead nodes."""
        rows = await self._scripts.call("sweep", milliseconds(self._policy.quiet), limit)
        lost, given_up, dead = ([item.decode() for item in row] for row in rows)
        return Swept(lost, given_up, dead)

    async def _fields(self, task_id: TaskId, names: list[str]) -> tuple[dict[str, bytes], datetime]:
        now_ms, gone, *values = await self._scripts.call("read", task_id, *names)
        row = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        if "state" not in row:
            raise TaskExpired("The task's result has expired.") if gone else TaskNotFound("There is no such task.")
        return row, _moment(now_ms)


def _view(task_id: TaskId, row: Mapping[str, bytes], now: datetime) -> TaskView:
    def text(name: str) -> str | None:
        return row[name].decode() if row.get(name) else None

    return TaskView(
        task_id=task_id,
        state=TaskState(row["state"].decode()),
        mode=row["mode"].decode(),
        model=row["model"].decode(),
        created_at=_moment(row["created_ms"]),
        now=now,
        ended_at=_moment(row["ended_ms"]) if row.get("ended_ms") else None,
        task_address=text("task_address"),
        answer=row.get("answer"),
        error_code=text("error_code"),
        error_message=text("error_message"),
        error_status=int(row["error_status"]) if row.get("error_status") else None,
        attempt=int(row["attempt"]),
        node=_node(text("node")),
        receipt=Receipt.model_validate_json(row["receipt"]) if row.get("receipt") else None,
    )


def _moment(milliseconds: bytes) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _node(holder: str | None) -> str | None:
    """Direct tasks are held by API processes, which are nobody's business."""
    return holder if holder and holder.startswith("0x") else None
