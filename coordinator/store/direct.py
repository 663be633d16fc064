"""Asynchronous direct tasks: stored like any other, run by whichever API process claims them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from coordinator.errors import RelayError
from coordinator.lifecycle.money import counted
from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.ids import TaskId, attempt_id
from coordinator.protocol.report import Blame
from coordinator.store.scripts import Scripts
from coordinator.store.signals import Signals


@dataclass(frozen=True, slots=True)
class DirectClaim:
    """One attempt of an API process at an asynchronous direct task."""

    task_id: TaskId
    attempt: int
    model: str
    request: bytes
    endpoint: Endpoint


class DirectLine:
    """This process's view of the line. A claim is a lease: it must be renewed, and a process that dies loses it."""

    def __init__(self, scripts: Scripts, signals: Signals) -> None:
        self._scripts, self._signals, self._owner = scripts, signals, f"api-{secrets.token_hex(8)}"

    async def claim(self) -> DirectClaim | None:
        row = await self._scripts.call("claim", self._owner)
        if row is None:
            return None
        task_id, number, model, request, endpoint = row
        return DirectClaim(TaskId(task_id.decode()), number, model.decode(), request, cast(Endpoint, endpoint.decode()))

    async def renew(self, claims: Sequence[DirectClaim]) -> Sequence[DirectClaim]:
        held = {attempt_id(claim.task_id, claim.attempt): claim for claim in claims}
        return [held[attempt.decode()] for attempt in await self._scripts.call("renew", self._owner, *held)]

    async def finish(self, claim: DirectClaim, outcome: bytes | RelayError) -> None:
        """The end of the task, if the claim still holds; a late one changes nothing. The pool has done its retries."""
        if isinstance(outcome, bytes):
            tokens = counted(outcome, len(claim.request))
            await self._scripts.call(
                "report", claim.task_id, claim.attempt, self._owner, "completed",
                outcome, tokens.prompt, tokens.completion,
            )  # fmt: skip
            return
        how = "refused" if outcome.blame is not Blame.COORDINATOR else "fault"
        await self._scripts.call(
            "report", claim.task_id, claim.attempt, self._owner, how, outcome.code, outcome.message, str(outcome.status)
        )

    async def wakeup(self, timeout: timedelta) -> None:
        await self._signals.direct_work(timeout)
