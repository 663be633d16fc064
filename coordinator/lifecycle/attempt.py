"""The attempt: one task given to one node once. Its number is the fence for everything the node says of it."""

from __future__ import annotations

from enum import StrEnum

from coordinator.lifecycle.machine import check_move


class AttemptState(StrEnum):
    OPEN = "open"  # leased to a node
    ACCEPTED = "accepted"  # its Report became the result, or the task's honest failure
    FAILED = "failed"  # the node reported that it could not
    LOST = "lost"  # the lease ran out, the node left or signed in anew


TRANSITIONS: dict[AttemptState, frozenset[AttemptState]] = {
    AttemptState.OPEN: frozenset({AttemptState.ACCEPTED, AttemptState.FAILED, AttemptState.LOST}),
    AttemptState.ACCEPTED: frozenset(),
    AttemptState.FAILED: frozenset(),
    AttemptState.LOST: frozenset(),
}


def advance(current: AttemptState, target: AttemptState) -> AttemptState:
    """`target`, when an attempt may go there. Raises IllegalTransition."""
    return check_move(TRANSITIONS, current, target)
