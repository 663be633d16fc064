"""Stores synchronous direct calls once they are answered, so that no client waits for it and a shutdown loses none."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

import structlog

from coordinator.api.ports import Relay
from coordinator.errors import RelayError, StoreUnavailable
from coordinator.lifecycle.order import Order
from coordinator.protocol.ids import TaskId

# Above this the store is slower than the traffic: answers wait for it rather than pile up here.
_MAX_PENDING: Final = 1000
_PAUSES_S: Final = (0.1, 1.0, 5.0)

log = structlog.get_logger("api")


class Keeper:
    """Writes in the background. `drain` before the store is closed."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._pending: set[asyncio.Task[None]] = set()

    async def keep(self, task_id: TaskId, order: Order, started_at: datetime, outcome: bytes | RelayError) -> None:
        if len(self._pending) >= _MAX_PENDING:
            await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._write(task_id, order, started_at, outcome))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def keep_first(
        self, task_id: TaskId, order: Order, started_at: datetime, outcome: bytes | RelayError
    ) -> None:
        """Before it is answered, so that a retry with the same Idempotency-Key gets this answer and no other.

        Raises IdempotencyInProgress when another request has taken over. A store that is down is not waited for.
        """
        try:
            await self._relay.keep(task_id, order, started_at, outcome)
        except StoreUnavailable:
            await self.keep(task_id, order, started_at, outcome)

    async def drain(self) -> None:
        """Returns when everything is written, or given up."""
        while self._pending:
            await asyncio.wait(self._pending)

    async def _write(self, task_id: TaskId, order: Order, started_at: datetime, outcome: bytes | RelayError) -> None:
        for pause in (*_PAUSES_S, None):
            try:
                return await self._relay.keep(task_id, order, started_at, outcome)
            except StoreUnavailable:
                if pause is None:
                    log.error("direct call not kept: the store is down", task=task_id[:16])
                else:
                    await asyncio.sleep(pause)
            except Exception as error:
                log.error("direct call not kept", task=task_id[:16], error=type(error).__name__)
                return
