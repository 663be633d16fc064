"""The state machines: tables that lead somewhere, and refusals that name both states."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from coordinator.lifecycle import attempt, record, standing, task, webhooks
from coordinator.lifecycle.machine import IllegalTransition
from coordinator.protocol.session import Condition

MACHINES: list[tuple[Any, type[StrEnum], str]] = [
    (task, task.TaskState, "waiting"),
    (attempt, attempt.AttemptState, "open"),
    (record, record.RecordState, "none"),
    (webhooks, webhooks.DeliveryState, "waiting"),
    (standing, Condition, "good"),
]


@pytest.mark.parametrize(("room", "states", "start"), MACHINES)
def test_every_state_is_in_the_table_and_can_be_reached(room: Any, states: type[StrEnum], start: str) -> None:
    assert set(room.TRANSITIONS) == set(states)
    reached, edge = {states(start)}, {states(start)}
    while edge := {target for state in edge for target in room.TRANSITIONS[state]} - reached:
        reached |= edge
    assert reached == set(states)


@pytest.mark.parametrize(("room", "states", "start"), MACHINES)
def test_advance_allows_the_table_and_nothing_else(room: Any, states: type[StrEnum], start: str) -> None:
    for current in states:
        for target in states:
            if target in room.TRANSITIONS[current]:
                assert room.advance(current, target) is target
            else:
                with pytest.raises(IllegalTransition, match=f"{current.value!r} to {target.value!r}"):
                    room.advance(current, target)


def test_an_ended_task_never_moves() -> None:
    assert not task.TRANSITIONS[task.TaskState.COMPLETED]
    assert not task.TRANSITIONS[task.TaskState.FAILED]
