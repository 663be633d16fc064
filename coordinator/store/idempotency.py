"""Idempotency-Keys: claims, each the right to make one task. `lua/idem_claim.lua` says what Redis holds of them."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import Final

import structlog

from coordinator.errors import StoreUnavailable
from coordinator.lifecycle.idempotency import Ask, Turn
from coordinator.lifecycle.order import Claim
from coordinator.protocol.ids import TaskId
from coordinator.store.scripts import Scripts, milliseconds
from coordinator.store.signals import Signals

# How long a process that was killed keeps retries waiting. One that is only slow loses nothing but its claim.
LEASE: Final = timedelta(seconds=5)
MEMORY: Final = timedelta(hours=24)

log = structlog.get_logger(__name__)


class IdempotencyClaims:
    """Raises StoreUnavailable when Redis can't be reached. `run` keeps the claims of direct calls alive."""

    def __init__(self, scripts: Scripts, signals: Signals, lease: timedelta = LEASE) -> None:
        self._scripts, self._signals, self._lease = scripts, signals, lease
        self._running: set[Claim] = set()

    async def claim(self, ask: Ask, joined: TaskId | None = None) -> Turn:
        """`joined`: the direct call that was waited for; however it ended, its end is the answer."""
        claim = Claim(_name(ask), ask.token)
        what, task_id = await self._scripts.call(
            "idem_claim", claim.name, ask.fingerprint, ask.task_id, ask.kind, claim.token, joined or "",
            milliseconds(self._lease), round(MEMORY.total_seconds()),
        )  # fmt: skip
        turn = Turn(what.decode(), TaskId(task_id.decode()), claim)
        if turn.what == "fresh" and ask.kind == "direct":
            self._running.add(claim)
        return turn

    def settle(self, claim: Claim) -> None:
        """What was asked is stored, or lost: either way nobody needs the claim any longer."""
        self._running.discard(claim)

    async def release(self, claim: Claim) -> None:
        """Nothing came of it, as far as is known, and nothing will: a retry may try."""
        self.settle(claim)
        await self._scripts.call("idem_release", claim.name, claim.token)

    async def ended(self, task_id: TaskId, timeout: timedelta) -> None:
        """Returns when that call may have ended, or when time is up."""
        ending = self._signals.ending(task_id)
        try:
            await ending.heard(timeout)
        finally:
            ending.close()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                await self.renew()
            except StoreUnavailable:
                log.warning("claims of direct calls not renewed: the store is down")

    async def renew(self) -> None:
        claims = [part for claim in self._running for part in (claim.name, claim.token)]
        if claims:
            await self._scripts.call("idem_renew", milliseconds(self._lease), *claims)


def _name(ask: Ask) -> str:
    return f"relay:idem:{ask.caller}:{hashlib.sha256(ask.key.encode()).hexdigest()}"
