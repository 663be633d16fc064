"""A small state machine: a table of allowed moves, and a refusal that names both states."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

State = TypeVar("State", bound=StrEnum)


class IllegalTransition(Exception):
    """The table has no such move. A bug, or a message that came too late."""

    def __init__(self, machine: str, current: str, target: str) -> None:
        super().__init__(f"{machine}: no way from {current!r} to {target!r}")
        self.machine, self.current, self.target = machine, current, target


def check_move(table: Mapping[State, frozenset[State]], current: State, target: State) -> State:
    """`target`, when the table has the move. Raises IllegalTransition when not."""
    if target not in table[current]:
        raise IllegalTransition(type(current).__name__, current.value, target.value)
    return target
