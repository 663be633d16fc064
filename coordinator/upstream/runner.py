"""Runs asynchronous direct tasks: claims them from the line, keeps their leases, hands in what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Generic, Protocol

import structlog

from coordinator.errors import InternalError, RelayError, StoreUnavailable
from coordinator.protocol.envelope import Endpoint
from coordinator.upstream.ports import ClaimT, DirectLine

# How long one look at an empty line lasts; a new task wakes it sooner.
_LOOK: Final = timedelta(seconds=5)
_STORE_PAUSE_S: Final = 0.5

log = structlog.get_logger("upstream")


class Completes(Protocol):
    async def complete(self, model: str, request: bytes, endpoint: Endpoint) -> bytes: ...


class DirectRunner(Generic[ClaimT]):
    """At most `slots` tasks at a time. `renew_every`: a third of the lease at most, and how soon a cancelled one stops.

    A run that is cancelled hangs up on its upstreams and keeps nothing: the leases end, and another process takes over.
    """

    def __init__(self, line: DirectLine[ClaimT], upstreams: Completes, *, slots: int, renew_every: timedelta) -> None:
        self._line, self._upstreams = line, upstreams
        self._slots, self._renew_every = slots, renew_every
        self._running: dict[asyncio.Task[None], ClaimT] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        renewing = asyncio.create_task(self._renew())
        try:
            while True:
                try:
                    await self._fill()
                except StoreUnavailable:
                    await asyncio.sleep(_STORE_PAUSE_S)
        finally:
            tasks = [renewing, *self._running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill(self) -> None:
        """Takes what there is and there is room for, then waits for more of either."""
        while len(self._running) < self._slots:
            claim = await self._line.claim()
            if claim is None:
                await self._line.wakeup(_LOOK)
                return
            task = asyncio.create_task(self._serve(claim))
            self._running[task] = claim
            task.add_done_callback(self._running.pop)
        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _serve(self, claim: ClaimT) -> None:
        outcome: bytes | RelayError
        try:
            outcome = await self._upstreams.complete(claim.model, claim.request, claim.endpoint)
        except RelayError as error:
            outcome = error
        except Exception as error:
            log.error("direct task broke", task=claim.task_id[:16], error=type(error).__name__)
            outcome = InternalError("Something went wrong here while the task ran.")
        await self._hand_in(claim, outcome)

    async def _hand_in(self, claim: ClaimT, outcome: bytes | RelayError) -> None:
        """The lease is renewed until the store has taken it; a lost claim changes nothing there."""
        while True:
            try:
                return await self._line.finish(claim, outcome)
            except StoreUnavailable:
                await asyncio.sleep(_STORE_PAUSE_S)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._renew_every.total_seconds())
            try:
                if self._running:
                    self._stop(await self._line.renew(list(self._running.values())))
            except StoreUnavailable:
                log.warning("leases of direct tasks not renewed: the store is down")

    def _stop(self, gone: Sequence[ClaimT]) -> None:
        """Hangs up on the upstreams: whatever they still say, nobody would take it."""
        for task, claim in self._running.items():
            if claim in gone:
                task.cancel()
                log.info("direct task stopped: its claim is over", task=claim.task_id[:16])
