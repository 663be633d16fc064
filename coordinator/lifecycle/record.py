"""The on-chain entry of a task has two legs, its opening and its settlement; each goes through this machine."""

from __future__ import annotations

from enum import StrEnum

from coordinator.lifecycle.machine import check_move


class RecordState(StrEnum):
    """`none`: nothing to write yet (a settlement before the task has ended)."""

    NONE = "none"
    PENDING = "pending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"


TRANSITIONS: dict[RecordState, frozenset[RecordState]] = {
    RecordState.NONE: frozenset({RecordState.PENDING}),
    RecordState.PENDING: frozenset({RecordState.SENT, RecordState.FAILED}),
    # back to pending: the transaction was dropped, or a reorganisation took its block away
    RecordState.SENT: frozenset({RecordState.CONFIRMED, RecordState.PENDING, RecordState.FAILED}),
    # a rewind deeper than the confirmations waited for (a development chain restored from an older state)
    RecordState.CONFIRMED: frozenset({RecordState.PENDING}),
    # given up; an operator may ask for another try
    RecordState.FAILED: frozenset({RecordState.PENDING}),
}


def advance(current: RecordState, target: RecordState) -> RecordState:
    """`target`, when a record's leg may go there. Raises IllegalTransition."""
    return check_move(TRANSITIONS, current, target)
