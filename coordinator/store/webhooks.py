"""Webhook deliveries in Redis: claimed, handed in, listed. `lua/webhook_prelude.lua` says what Redis holds of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from coordinator.errors import InvalidRequest, WebhookDeliveryNotFound
from coordinator.lifecycle.task import TaskState, TaskView
from coordinator.lifecycle.webhooks import (
    Attempt,
    Delivery,
    DeliveryPage,
    DeliveryState,
    Outcome,
    SigningSecret,
    pause_after,
)
from coordinator.protocol.ids import TaskId
from coordinator.store.scripts import Scripts, milliseconds
from coordinator.store.signals import Signals
from coordinator.store.views import moment

# An attempt lasts 15 s at most; one that has not been handed in by now was lost with its process.
LEASE: Final = timedelta(seconds=30)


class WebhookStore:
    """Every method raises StoreUnavailable when Redis can't be reached. `new_secret` makes an account's first."""

    def __init__(
        self, scripts: Scripts, signals: Signals, new_secret: Callable[[], str], lease: timedelta = LEASE
    ) -> None:
        self._scripts, self._signals, self._new_secret, self._lease = scripts, signals, new_secret, lease

    async def claim(self) -> Attempt | None:
        """An attempt that is due, for this process alone while its lease lasts."""
        token = secrets.token_hex(8)
        row = await self._scripts.call("webhook_claim", token, milliseconds(self._lease), self._new_secret())
        if row is None:
            return None
        task_id, current, previous, flat = row
        found = _fields(flat)
        return Attempt(
            TaskId(task_id.decode()),
            token,
            found["url"],
            found["receiver"],
            int(found["tries"]),
            tuple(secret.decode() for secret in (current, previous) if secret),
            _view(TaskId(task_id.decode()), found),
        )

    async def finish(self, attempt: Attempt, outcome: Outcome) -> bool:
        """False, and nothing changed, when the attempt has become somebody else's."""
        pause = pause_after(attempt.tries + 1)
        what = "delivered" if outcome.delivered else "failed" if pause is None else "retry"
        said = await self._scripts.call(
            "webhook_finish", attempt.task_id, attempt.token, what, milliseconds(pause or timedelta()),
            "" if outcome.status is None else outcome.status, outcome.error or "",
        )  # fmt: skip
        return bool(said == b"OK")

    async def wakeup(self, timeout: timedelta) -> None:
        """Returns when something may be due, or when time is up."""
        await self._signals.webhook_work(timeout)

    async def listed(
        self, account: str, after: TaskId | None, limit: int, state: DeliveryState | None = None
    ) -> DeliveryPage:
        """The newest first."""
        more, last, *rows = await self._scripts.call("webhook_list", account, after or "", limit, state or "")
        deliveries = [_delivery(TaskId(task_id.decode()), due, flat) for task_id, due, flat in rows]
        return DeliveryPage(deliveries, TaskId(last.decode()) if more else None)

    async def read(self, account: str, task_id: TaskId) -> Delivery:
        """Raises WebhookDeliveryNotFound."""
        row = await self._scripts.call("webhook_read", task_id, account)
        if row is None:
            raise _unknown()
        return _delivery(task_id, *row)

    async def redeliver(self, account: str, task_id: TaskId) -> Delivery:
        """At once, with eight attempts before it. Raises WebhookDeliveryNotFound, InvalidRequest (400)."""
        said = await self._scripts.call("webhook_redeliver", task_id, account)
        if said == b"unknown":
            raise _unknown()
        if said == b"waiting":
            raise InvalidRequest("delivery_id: the task has not ended, so there is nothing to deliver yet.", status=400)
        return await self.read(account, task_id)

    async def secret(self, account: str) -> SigningSecret:
        return await self._secret(account, "")

    async def rotate(self, account: str, keep: timedelta) -> SigningSecret:
        """A new one; the one before signs beside it for as long as `keep`."""
        return await self._secret(account, milliseconds(keep))

    async def _secret(self, account: str, keep_ms: int | str) -> SigningSecret:
        row = await self._scripts.call("webhook_secret", account, self._new_secret(), keep_ms)
        current, created_ms, _, until_ms = row
        return SigningSecret(current.decode(), moment(created_ms), moment(until_ms) if until_ms else None)


def _unknown() -> WebhookDeliveryNotFound:
    return WebhookDeliveryNotFound("delivery_id: none of the account's deliveries has this id, or it has expired.")


def _fields(flat: Sequence[bytes]) -> dict[str, str]:
    texts = [value.decode() for value in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _at(found: dict[str, str], name: str) -> datetime | None:
    return moment(found[name].encode()) if name in found else None


def _delivery(task_id: TaskId, due: Any, flat: Sequence[bytes]) -> Delivery:
    found = _fields(flat)
    return Delivery(
        task_id,
        DeliveryState(found["state"]),
        found["url"],
        found.get("event"),
        int(found["tries"]),
        moment(found["created_ms"].encode()),
        moment(str(int(float(due))).encode()) if due else None,
        _at(found, "last_ms"),
        _at(found, "delivered_ms"),
        int(found["http_status"]) if "http_status" in found else None,
        found.get("error"),
    )


def _view(task_id: TaskId, found: dict[str, str]) -> TaskView:
    """Of a task that may have expired: all but its result."""
    ended = moment(found["ended_ms"].encode())
    return TaskView(
        task_id,
        TaskState(found["event"].removeprefix("task.")),
        found["mode"],
        found["model"],
        moment(found["task_created_ms"].encode()),
        ended,
        ended_at=ended,
        task_address=found.get("task_address"),
        error_code=found.get("error_code"),
        error_message=found.get("error_message"),
    )
