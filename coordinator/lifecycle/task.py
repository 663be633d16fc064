"""The task: what a client asked for, from acceptance to its end.

    waiting ──► assigned ──► running ──► completed
       ▲  ▲        │  │         │  │
       │  └────────┘  └─────────┼──┴──► failed
       └────────────────────────┘        (a lost lease: back to waiting, first in line)

Outside, waiting and assigned both read `queued`. Redis enforces the same table (`store/lua`), generated from this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from coordinator.lifecycle.machine import check_move
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Receipt


class TaskState(StrEnum):
    WAITING = "waiting"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.WAITING: frozenset({TaskState.ASSIGNED, TaskState.FAILED}),
    # straight to completed: a short attempt is over before a heartbeat could say that it runs
    TaskState.ASSIGNED: frozenset({TaskState.RUNNING, TaskState.COMPLETED, TaskState.FAILED, TaskState.WAITING}),
    TaskState.RUNNING: frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.WAITING}),
    TaskState.COMPLETED: frozenset(),
    TaskState.FAILED: frozenset(),
}

_OUTSIDE = {
    TaskState.WAITING: "queued",
    TaskState.ASSIGNED: "queued",
    TaskState.RUNNING: "running",
    TaskState.COMPLETED: "completed",
    TaskState.FAILED: "failed",
}


def advance(current: TaskState, target: TaskState) -> TaskState:
    """`target`, when a task may go there. Raises IllegalTransition."""
    return check_move(TRANSITIONS, current, target)


def outside(state: TaskState) -> str:
    """What a client reads: one of queued, running, completed, failed."""
    return _OUTSIDE[state]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queued task stands: from 1 in its model's line, 0 once a node has it.

    `waiting_for`: slot (all who serve the model are busy) | node (nobody serves it) | start (a node is about to begin).
    `expected_wait_seconds`: until it starts, by how fast its line has been moving; None where nothing is known of that.
    """

    position: int
    waiting_for: str
    expected_wait_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """An ended task's settlement. `confirmations` is counted from the newest block that the chain writer has seen."""

    status: str
    tx_hash: str | None
    block_number: int | None
    confirmations: int


@dataclass(frozen=True, slots=True)
class TaskView:
    """What may be shown of a task to whoever knows its id. Times are UTC; `now` is the store's clock at reading."""

    task_id: TaskId
    state: TaskState
    mode: str
    model: str
    created_at: datetime
    now: datetime
    ended_at: datetime | None = None
    task_address: str | None = None
    answer: bytes | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_status: int | None = None
    attempt: int = 0
    node: str | None = None
    receipt: Receipt | None = None
    queue: Place | None = None
    chain: ChainEntry | None = None

    @property
    def status(self) -> str:
        """One of queued, running, completed, failed: clients poll on until they read one of the last two."""
        return outside(self.state)

    @property
    def terminal(self) -> bool:
        return not TRANSITIONS[self.state]


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks of one key, newest first, without their answers. `cursor`: the next page begins behind this task."""

    tasks: list[TaskView]
    cursor: TaskId | None
