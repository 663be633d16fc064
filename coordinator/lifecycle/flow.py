"""One task, seven steps, from the coordinator's side; reads like the table at the head of the README.

1 and 7 are the API's, 3's writing is the chain room's, 5 is the node's; what happens in between is decided here.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import orjson

from coordinator.errors import CapacityExhausted, RelayError, StoreUnavailable
from coordinator.lifecycle.order import Commitment, Order
from coordinator.lifecycle.ports import Ending, Endings, Serving, Space, Tasks
from coordinator.lifecycle.task import TaskPage, TaskState, TaskView, outside
from coordinator.protocol import hashing
from coordinator.protocol.ids import TaskId, new_task_id

# A signal may be lost with a broker that restarts; reading again this often bounds what that costs.
_REREAD = timedelta(seconds=1)


class Relay:
    """What the API asks for. `models` are the catalogue's."""

    def __init__(self, tasks: Tasks, endings: Endings, nodes: Serving, space: Space, models: list[str]) -> None:
        self._tasks, self._endings, self._nodes, self._space, self._models = tasks, endings, nodes, space, models
        self._listening: dict[TaskId, Ending] = {}

    async def submit(self, order: Order, task_id: TaskId | None = None) -> TaskView:
        """Steps 2 to 4 in one atomic write: stored, in the outbox, and given to a node or put into the line.

        A synchronous order must be waited for, by `wait`. With a `task_id`, a repetition finds the task.

        Raises ProviderUnavailable, CapacityExhausted, IdempotencyInProgress: nothing was accepted then; and
        StoreUnavailable: nobody knows.
        """
        task_id = task_id or new_task_id(order.mode)
        commitment = await self._commit(task_id, order.request) if order.mode == "opengpu" else None
        if order.asynchronous:
            return await self._tasks.submit(task_id, order, commitment)
        # whoever waits for it listens before it begins, and need not look first
        ending = self._listening[task_id] = self._endings.ending(task_id)
        try:
            return await self._tasks.submit(task_id, order, commitment)
        except BaseException:
            del self._listening[task_id]
            ending.close()
            raise

    async def _commit(self, task_id: TaskId, request: bytes) -> Commitment:
        """Step 3: the task's address is known before anything is on chain (CREATE2)."""
        space = await self._space.current()
        if space is None:
            raise CapacityExhausted(
                "The chain writer has not started yet, so no task address can be given. Try again shortly, "
                "or use mode 'direct'."
            )
        salt = hashing.new_salt()
        key, request_hash = hashing.task_key(salt, task_id), hashing.salted_hash(salt, request)
        return Commitment("0x" + salt.hex(), key, request_hash, space.task_address(key, request_hash))

    async def read(self, task_id: TaskId) -> TaskView:
        """Raises TaskNotFound, TaskExpired."""
        return await self._tasks.read(task_id)

    async def cancel(self, task_id: TaskId, caller: str) -> TaskView:
        """The task as it stands then: one that had ended before stays as it was.

        Raises TaskNotFound, TaskExpired, CredentialNotPermitted.
        """
        await self._tasks.cancel(task_id, caller)
        return await self._tasks.read(task_id)

    async def listed(self, caller: str, after: TaskId | None, limit: int) -> TaskPage:
        """A key's own tasks. Raises TaskNotFound when `after` is none of them."""
        return await self._tasks.listed(caller, after, limit)

    async def wait(self, task_id: TaskId, timeout: timedelta) -> TaskView:
        """Returns when the task has ended, or as it is when time is up. A store that restarts is waited for."""
        until = time.monotonic() + timeout.total_seconds()
        listening = self._listening.pop(task_id, None)
        ending = listening or self._endings.ending(task_id)
        try:
            if listening:
                await ending.heard(min(_REREAD, timeout))
            while True:
                view = await self._read_patiently(task_id, until)
                left = until - time.monotonic()
                if view.terminal or left <= 0:
                    return view
                await ending.heard(min(_REREAD, timedelta(seconds=left)))
        finally:
            ending.close()

    async def _read_patiently(self, task_id: TaskId, until: float) -> TaskView:
        while True:
            try:
                return await self._tasks.read(task_id)
            except StoreUnavailable:
                if time.monotonic() >= until:
                    raise
                await asyncio.sleep(0.2)

    async def keep(self, task_id: TaskId, order: Order, started_at: datetime, outcome: bytes | RelayError) -> None:
        """A synchronous direct call that has ended, so that it can be polled by its id."""
        await self._tasks.keep(task_id, order, started_at, outcome)

    async def opengpu_models(self) -> set[str]:
        """Models of the catalogue that a live node serves now."""
        return await self._nodes.serving(self._models)

    async def ready(self) -> bool:
        """Whether requests can be accepted at all."""
        try:
            await self._nodes.serving(self._models[:1])
        except StoreUnavailable:
            return False
        return True

    async def proof(self, task_id: TaskId) -> dict[str, Any]:
        """All that a stranger needs to check a task against the chain. Raises TaskNotFound, TaskExpired."""
        row = await self._tasks.proof(task_id)
        record = await self._tasks.record(task_id)
        text = {name: value.decode() for name, value in row.items() if value}
        body: dict[str, Any] = {"task_id": task_id, "status": outside(TaskState(text["state"]))}
        space = await self._space.current()
        if space is not None:
            body |= {
                "chain_id": space.chain_id,
                "task_registry": space.task_registry,
                "implementation": space.implementation,
                "coordinator": space.coordinator,
            }
        names = "task_address salt task_key request request_hash answer response_hash node receipt_signature error_code"
        body |= {name: text.get(name) for name in names.split()}
        body["payment_wei"] = int(record["payment_wei"]) if record.get("payment_wei") else None
        body["receipt"] = orjson.loads(text["receipt"]) if "receipt" in text else None
        body |= {"attempt": int(text["attempt"])} | {leg: _leg(record, leg) for leg in ("opening", "settlement")}
        return body


def _leg(record: dict[str, str], leg: str) -> dict[str, Any]:
    def number(name: str) -> int | None:
        return int(record[name]) if record.get(name) else None

    return {
        "status": record.get(leg, "none"),
        "tx_hash": record.get(f"{leg}_tx"),
        "block_number": number(f"{leg}_block"),
        "gas_used": number(f"{leg}_gas"),
        "error": record.get(f"{leg}_error"),
    }
