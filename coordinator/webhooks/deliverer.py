"""Delivers what is due, in every API process: claims an attempt, makes it, hands in what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from coordinator.errors import StoreUnavailable, TaskNotFound
from coordinator.lifecycle.task import TaskView
from coordinator.lifecycle.webhooks import Attempt, Outcome, message_id
from coordinator.webhooks import signing
from coordinator.webhooks.ports import Deliveries, Sender, Tasks

# How long one look at nothing lasts; a task that ends, or an attempt that does, wakes it sooner.
_LOOK: Final = timedelta(seconds=1)
_STORE_PAUSE_S: Final = 0.5
# More than one account can fill (lua/webhook_prelude.lua): four, each with receivers that say nothing.
SLOTS: Final = 128

log = structlog.get_logger("webhooks")


class Deliverer:
    """At most `slots` attempts at a time; how many go to one receiver is the store's to bound, over all processes.

    One that is cancelled or killed keeps nothing: its leases end, and another process makes those attempts.
    """

    def __init__(
        self,
        store: Deliveries,
        tasks: Tasks,
        sender: Sender,
        render: Callable[[TaskView], bytes],
        *,
        slots: int = SLOTS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`render`: the body. `clock`: unix seconds; receivers refuse what is minutes old."""
        self._store, self._tasks, self._sender, self._render = store, tasks, sender, render
        self._slots, self._clock = slots, clock
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                try:
                    await self._fill()
                except StoreUnavailable:
                    await asyncio.sleep(_STORE_PAUSE_S)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _fill(self) -> None:
        """Takes what is due and there is room for, then waits for more of either."""
        while len(self._running) < self._slots:
            attempt = await self._store.claim()
            if attempt is None:
                return await self._rest()
            task = asyncio.create_task(self._deliver(attempt))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _rest(self) -> None:
        """An attempt that ends makes room at its receiver."""
        wakeup = asyncio.create_task(self._store.wakeup(_LOOK))
        try:
            await asyncio.wait({wakeup, *self._running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wakeup.cancel()
            await asyncio.gather(wakeup, return_exceptions=True)

    async def _deliver(self, attempt: Attempt) -> None:
        try:
            outcome = await self._attempt(attempt)
            taken = await self._hand_in(attempt, outcome)
        except Exception as error:
            log.error("webhook broke", task=attempt.task_id[:16], error=type(error).__name__)
            return  # its lease ends
        # neither the URL nor the host: either may hold a secret
        log.info(
            "webhook", task=attempt.task_id[:16], attempt=attempt.tries + 1, status=outcome.status, error=outcome.error,
            late=not taken,
        )  # fmt: skip

    async def _attempt(self, attempt: Attempt) -> Outcome:
        body = self._render(await self._view(attempt))
        identity = message_id(attempt.task_id)
        headers = signing.headers(attempt.secrets, identity, int(self._clock()), body)
        return await self._sender.send(attempt.url, headers, body)

    async def _view(self, attempt: Attempt) -> TaskView:
        while True:
            try:
                return await self._tasks.read(attempt.task_id)
            except TaskNotFound:  # expired: its end is told all the same, without the result
                return attempt.view
            except StoreUnavailable:
                await asyncio.sleep(_STORE_PAUSE_S)

    async def _hand_in(self, attempt: Attempt, outcome: Outcome) -> bool:
        while True:
            try:
                return await self._store.finish(attempt, outcome)
            except StoreUnavailable:
                await asyncio.sleep(_STORE_PAUSE_S)
