"""How far a node is trusted with work: the circuit breaker, by node key and hardware.

    good ──► suspended ──► probation ──► good      too many of its attempts went wrong: none for a while, then one at a
      │          ▲─────────────┘                   time, until enough of them went well
      └──► probation                               a known key on other GPUs

Redis enforces the same table (`store/lua`), generated from this one; the numbers are `policy.Policy`'s.
"""

from __future__ import annotations

from coordinator.lifecycle.machine import check_move
from coordinator.protocol.session import Condition

TRANSITIONS: dict[Condition, frozenset[Condition]] = {
    Condition.GOOD: frozenset({Condition.SUSPENDED, Condition.PROBATION}),
    Condition.SUSPENDED: frozenset({Condition.PROBATION}),
    Condition.PROBATION: frozenset({Condition.SUSPENDED, Condition.GOOD}),
}


def advance(current: Condition, target: Condition) -> Condition:
    """`target`, when a node may come to it. Raises IllegalTransition."""
    return check_move(TRANSITIONS, current, target)
