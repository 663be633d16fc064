"""Tasks in Redis: admitted, read, reported on, swept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from redis.asyncio import Redis

from coordinator.errors import (
    CapacityExhausted,
    CredentialNotPermitted,
    IdempotencyInProgress,
    ProviderUnavailable,
    RateLimited,
    RelayError,
    TaskCanceled,
    TaskExpired,
    TaskNotFound,
)
from coordinator.lifecycle.money import Tokens, counted
from coordinator.lifecycle.order import Commitment, Order, Terms
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.task import TaskPage, TaskState, TaskView
from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Receipt, Refusal
from coordinator.store.money import billed, too_dear
from coordinator.store.scripts import Scripts, milliseconds, texts, unavailable
from coordinator.store.views import LISTED, PROVEN, SHOWN, Row, fields, moment, view

_CANCELED = "The task was cancelled."
# Nobody knows when one of the caller's tasks will end.
_BUSY = timedelta(seconds=5)
# A `Retry-After` from a line's pace: sooner would be a nuisance, and who comes back later has given up.
_SOONEST, _LATEST = timedelta(seconds=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Swept:
    lost: list[str]
    given_up: list[str]
    dead: list[str]
    users: list[str]
    notices: list[dict[str, Any]]


class TaskStore:
    """Every method is one or two round trips. Raises StoreUnavailable when Redis can't be reached."""

    def __init__(self, redis: Redis, scripts: Scripts, policy: Policy) -> None:
        self._redis, self._scripts, self._policy = redis, scripts, policy

    async def submit(self, task_id: TaskId, order: Order, commitment: Commitment | None) -> TaskView:
        """Durable when it returns (appendfsync always).

        Raises ProviderUnavailable, CapacityExhausted, RateLimited (too many unfinished), IdempotencyInProgress,
        KeyBudgetExhausted, InsufficientCredits.
        """
        links = (
            (commitment.salt, commitment.task_key, commitment.request_hash, commitment.task_address)
            if commitment
            else ("", "", "", "")
        )
        timeout = milliseconds(self._policy.task_timeout)
        what, now_ms, *left = await self._scripts.call(
            "submit", task_id, order.mode, order.model, order.caller, order.request, *links, timeout, order.endpoint,
            *_claim(order), "" if order.concurrent is None else order.concurrent, *billed(order.bill),
            " ".join(order.prefixes), self._first_token_ms(order), order.client or order.caller, *_webhook(order),
        )  # fmt: skip
        if what == b"no_node":
            raise ProviderUnavailable(
                f"No live node serves the model {order.model!r} now. Try again later, or use mode 'direct'."
            )
        if what == b"full":
            raise _full(order, *left)
        if what == b"busy":
            message = f"{order.concurrent} of your tasks have not ended yet, as many as you may have at a time."
            raise RateLimited(message, retry_after=_BUSY)
        if what == b"exists":
            return await self.read(task_id)
        if what == b"superseded":
            raise IdempotencyInProgress("Another request with this Idempotency-Key has taken over. Send it again.")
        if order.bill is not None and (unaffordable := too_dear(what, order.bill, left)):
            raise unaffordable
        now, address = moment(now_ms), commitment.task_address if commitment else None
        return TaskView(task_id, TaskState(what.decode()), order.mode, order.model, now, now, task_address=address)

    async def read(self, task_id: TaskId) -> TaskView:
        """Raises TaskNotFound, TaskExpired."""
        row, now = await self._row(task_id, SHOWN)
        return view(task_id, row, SHOWN, now)

    async def listed(self, caller: str, after: TaskId | None, limit: int) -> TaskPage:
        """A key's own, newest first. Raises TaskNotFound when `after` is none of them."""
        what, now_ms, more, last, *rows = await self._scripts.call("list", caller, after or "", limit, *LISTED)
        if what != b"OK":
            raise TaskNotFound("starting_after: none of your tasks has this id.")
        now = moment(now_ms)
        tasks = [view(TaskId(task_id.decode()), row, LISTED, now) for task_id, row in rows]
        return TaskPage(tasks, TaskId(last.decode()) if more else None)

    async def cancel(self, task_id: TaskId, caller: str) -> None:
        """Changes nothing when it has ended. Raises TaskNotFound, TaskExpired, CredentialNotPermitted."""
        said = await self._scripts.call(
            "cancel", task_id, caller, TaskCanceled.code, _CANCELED, str(TaskCanceled.status)
        )
        if said == b"foreign":
            raise CredentialNotPermitted("The task belongs to a key: only requests with that key can cancel it.")
        if said in (b"unknown", b"expired"):
            raise _missing(gone=said == b"expired")

    async def proof(self, task_id: TaskId) -> Mapping[str, bytes]:
        """The fields that a proof is made of, those that are there. Raises TaskNotFound, TaskExpired."""
        row, _ = await self._row(task_id, PROVEN)
        return fields(row, PROVEN)

    async def record(self, task_id: TaskId) -> dict[str, str]:
        with unavailable():
            row = await self._redis.hgetall(f"relay:record:{task_id}")
        return texts(row)

    async def terms(self, task_id: TaskId, attempt: int, node: str) -> Terms | Refusal:
        """For whose open attempt it is; others learn what the report script, which has the last word, would say."""
        names = ("salt", "request_hash", "task_address", "endpoint", "model", "request")
        fence = (f"attempt_node:{attempt}", f"attempt_state:{attempt}")
        with unavailable():
            found = self._redis.hmget(f"relay:task:{task_id}", (*names, *fence))
            *row, holder, state = cast(list[bytes | None], await found)
        if row[0] is None:
            return Refusal.UNKNOWN_TASK
        if holder != node.encode():
            return Refusal.FOREIGN_ATTEMPT
        if state != b"open":
            return Refusal.LATE if state == b"lost" else Refusal.DUPLICATE
        salt, request_hash, address, endpoint, model, request = (value or b"" for value in row)
        links = (salt.decode(), request_hash.decode(), address.decode(), model.decode())
        return Terms(*links, request, cast(Endpoint, endpoint.decode() or "chat/completions"))

    async def complete(
        self,
        task_id: TaskId,
        attempt: int,
        node: str,
        answer: str,
        tokens: Tokens,
        receipt: Receipt,
        signature: str,
        payment_wei: int,
    ) -> Refusal | None:
        """The result, if this attempt is still the one. The caller has checked the receipt and counted the tokens."""
        said = await self._scripts.call(
            "report", task_id, attempt, node, "completed",
            answer, tokens.prompt, tokens.completion, receipt.response_hash, receipt.model_dump_json(), signature,
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
        tokens = counted(outcome, len(order.request)) if order.bill and isinstance(outcome, bytes) else Tokens(0, 0)
        end: tuple[str | bytes, ...] = ("completed", outcome, "", "", "") if isinstance(outcome, bytes) else (
            "failed", "", outcome.code, outcome.message, str(outcome.status)
        )  # fmt: skip
        created = round(started_at.timestamp() * 1000)
        said = await self._scripts.call(
            "keep", task_id, order.model, order.caller, order.request, created, *end, *_claim(order),
            tokens.prompt, tokens.completion, *billed(order.bill),
        )  # fmt: skip
        if said == b"superseded":
            raise IdempotencyInProgress("Another request with this Idempotency-Key has taken over. Send it again.")

    async def sweep(self, limit: int = 200) -> Swept:
        """Lost leases, passed deadlines, dead nodes, broker users to be removed, and what operators should hear of."""
        rows = await self._scripts.call("sweep", milliseconds(self._policy.quiet), limit)
        lost, given_up, dead, users, notices = ([item.decode() for item in row] for row in rows)
        return Swept(lost, given_up, dead, users, [json.loads(notice) for notice in notices])

    def _first_token_ms(self, order: Order) -> int | str:
        return milliseconds(self._policy.first_token_within(len(order.request))) if order.streams else ""

    async def _row(self, task_id: TaskId, names: Sequence[str]) -> tuple[Row, datetime]:
        now_ms, row = await self._scripts.call("read", task_id, *names)
        if isinstance(row, int):
            raise _missing(gone=bool(row))
        return row, moment(now_ms)


def _missing(*, gone: bool) -> TaskNotFound:
    return TaskExpired("The task's result has expired.") if gone else TaskNotFound("There is no such task.")


def _full(order: Order, place_ms: int, line_ms: int) -> CapacityExhausted:
    """For whom a line has no place: when there will be one, and how long the line is, in ms; -1 is unknown."""
    line = "asynchronous direct tasks" if order.mode == "direct" else f"the model {order.model!r}"
    if place_ms < 0:
        return CapacityExhausted(f"The line for {line} has no place for another task of yours. Try again later.")
    place = min(max(timedelta(seconds=round(place_ms / 1000)), _SOONEST), _LATEST)
    message = (
        f"The line for {line} has no place for another task of yours: those in it are expected to wait up to "
        f"{max(1, round(line_ms / 1000))} s. Try again in {round(place.total_seconds())} s."
    )
    return CapacityExhausted(message, retry_after=place)


def _claim(order: Order) -> tuple[str, str]:
    return (order.claim.name, order.claim.token) if order.claim else ("", "")


def _webhook(order: Order) -> tuple[str, str, str]:
    hook = order.webhook
    return (hook.url, hook.receiver, hook.account) if hook else ("", "", "")
