"""Idempotency-Key: whatever is sent again under the same key is answered by the one task that it made.

A stream can't be given twice: with `stream: true` the key is only checked for its form.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from starlette.responses import Response
from starlette.types import Receive

from coordinator.api.hangup import HangUp
from coordinator.api.ports import Claims
from coordinator.errors import IdempotencyInProgress, IdempotencyKeyReused, InvalidRequest, StoreUnavailable
from coordinator.lifecycle.idempotency import Ask, Kind, Turn
from coordinator.lifecycle.order import Order
from coordinator.protocol.ids import TaskId, new_task_id

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
_LONGEST: Final = 255
# A signal may be lost, and a process that runs a call may die: whoever waits for it asks again this often.
_REREAD: Final = timedelta(seconds=1)

Run = Callable[[Order, TaskId], Awaitable[Response]]
Replay = Callable[[TaskId], Awaitable[Response]]


def idempotency_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Raises InvalidRequest."""
    for name, value in headers:
        if name == b"idempotency-key":
            if not 1 <= len(value) <= _LONGEST:
                raise _malformed(f"must have 1 to {_LONGEST} characters")
            return value.decode("latin-1")
    return None


def _malformed(message: str) -> InvalidRequest:
    details: list[dict[str, object]] = [{"type": "string_length", "loc": ["header", HEADER], "msg": message}]
    return InvalidRequest(f"{HEADER}: {message}", details=details)


def ask(key: str, path: str, body: bytes, order: Order) -> Ask:
    """`path` counts: the same body means another thing at another endpoint."""
    fingerprint = hashlib.sha256(path.encode() + b"\0" + body).hexdigest()
    kind: Kind = "async" if order.asynchronous else "direct" if order.mode == "direct" else "task"
    return Ask(order.caller, key, fingerprint, kind, new_task_id(order.mode), secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class Once:
    """Lets the first request run and answers the others from its task."""

    claims: Claims

    async def answer(self, asked: Ask, order: Order, receive: Receive, run: Run, replay: Replay) -> Response:
        """Raises IdempotencyInProgress, IdempotencyKeyReused, StoreUnavailable, and what `run` raises."""
        turn = await self._turn(asked, receive)
        if turn.what == "fresh":
            return await self._run(turn, order, run)
        response = await replay(turn.task_id)
        response.headers[REPLAYED] = "true"
        return response

    async def _turn(self, asked: Ask, receive: Receive) -> Turn:
        turn = await self.claims.claim(asked)
        while turn.what == "running":
            async with HangUp(receive):
                await self.claims.ended(turn.task_id, _REREAD)
            turn = await self.claims.claim(asked, joined=turn.task_id)
        if turn.what == "reused":
            raise IdempotencyKeyReused(f"{HEADER}: sent before, with another request. Use a new key for each request.")
        if turn.what == "pending":
            raise IdempotencyInProgress("The first request with this Idempotency-Key is being accepted. Send it again.")
        return turn

    async def _run(self, turn: Turn, order: Order, run: Run) -> Response:
        try:
            response = await run(replace(order, claim=turn.claim), turn.task_id)
        except BaseException:
            with suppress(StoreUnavailable):  # then its time runs out
                await self.claims.release(turn.claim)
            raise
        self.claims.settle(turn.claim)
        return response
