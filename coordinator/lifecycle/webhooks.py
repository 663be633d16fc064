"""A task's webhook: whom to tell of its end, and how far that has come.

    waiting ──► pending ──► delivered      a delivery that has ended goes out once more when it is asked for
                 ▲   │  └──► failed
                 └───┴────────────┘

Redis enforces the same table (`store/lua`), generated from this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from coordinator.lifecycle.machine import check_move
from coordinator.lifecycle.task import TaskView
from coordinator.protocol.ids import TaskId

# Between one attempt and the next; eight attempts in all.
RETRY_DELAYS: Final = tuple(timedelta(seconds=seconds) for seconds in (30, 60, 120, 240, 480, 960, 1800))
_MESSAGE: Final = "msg_"


class DeliveryState(StrEnum):
    """`waiting`: the task has not ended. `pending`: an attempt is due, running, or to come."""

    WAITING = "waiting"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.WAITING: frozenset({DeliveryState.PENDING}),
    DeliveryState.PENDING: frozenset({DeliveryState.DELIVERED, DeliveryState.FAILED}),
    DeliveryState.DELIVERED: frozenset({DeliveryState.PENDING}),
    DeliveryState.FAILED: frozenset({DeliveryState.PENDING}),
}


def advance(current: DeliveryState, target: DeliveryState) -> DeliveryState:
    """`target`, when a delivery may go there. Raises IllegalTransition."""
    return check_move(TRANSITIONS, current, target)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Part of an order. `receiver` (host:port) is what attempts at one time are bounded by; `url` may hold secrets."""

    url: str
    receiver: str
    account: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that its holder may make while its lease lasts. `view` stands in when the task has expired.

    `secrets`: the account's, the newest first; two while a rotated one is still valid.
    """

    task_id: TaskId
    token: str
    url: str
    receiver: str
    tries: int
    secrets: tuple[str, ...]
    view: TaskView


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt: the receiver's status, or why there is none, in words of ours."""

    status: int | None
    error: str | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an account may see of one. Times are UTC; `next_at` of a pending one."""

    task_id: TaskId
    state: DeliveryState
    url: str
    event: str | None
    attempts: int
    created_at: datetime
    next_at: datetime | None
    last_at: datetime | None
    delivered_at: datetime | None
    response_status: int | None
    error: str | None

    @property
    def delivery_id(self) -> str:
        return message_id(self.task_id)


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """The newest first. `cursor`: the next page begins behind this task's."""

    deliveries: list[Delivery]
    cursor: TaskId | None


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """`previous` signs beside `current` until `previous_until`."""

    current: str
    created_at: datetime
    previous_until: datetime | None


def message_id(task_id: TaskId) -> str:
    """Stable over retries: a receiver knows by it what it has had."""
    return f"{_MESSAGE}{task_id}"


def task_of(delivery_id: str) -> str:
    """The other way; a bare task id will do."""
    return delivery_id.removeprefix(_MESSAGE)


def pause_after(tries: int) -> timedelta | None:
    """How long to wait after that many failed attempts; None: it is given up."""
    return RETRY_DELAYS[tries - 1] if tries <= len(RETRY_DELAYS) else None
