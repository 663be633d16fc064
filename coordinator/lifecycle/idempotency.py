"""One Idempotency-Key, one task: what is asked of the store before anything runs, and what it says.

    fresh ──► run it, as `task_id` and under `claim` ──► accepted: there is a task, and a replay answers from it
      ▲                    │
      └── refused, left ───┘        running: a direct call of another request, joined until it has ended
                                    pending: nobody can say yet · reused: the key stands for another request

A synchronous request whose task failed for no fault of the client's (429, 5xx) is fresh once more: it has cost nothing,
and clients that retry hope for another outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coordinator.lifecycle.order import Claim
from coordinator.protocol.ids import TaskId

# async: answered once it is accepted. task: stored before it runs. direct: stored only once it has ended.
Kind = Literal["async", "task", "direct"]
What = Literal["fresh", "accepted", "running", "pending", "reused"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request with a key. `fingerprint` is of all that was asked; `task_id` and `token` are its own if it runs."""

    caller: str
    key: str
    fingerprint: str
    kind: Kind
    task_id: TaskId
    token: str


@dataclass(frozen=True, slots=True)
class Turn:
    """The store's word."""

    what: What
    task_id: TaskId
    claim: Claim
