"""Doubts that must last before they are acted upon: endpoints behind a load balancer contradict each other at times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import timedelta
from typing import TypeVar

# An alarm that goes on is repeated, so that an operator who comes later sees it too.
_ALARM_EVERY_SECONDS = 60.0
Doubted = TypeVar("Doubted", bound=Hashable)


class Patience:
    """`clock` in seconds, any zero."""

    def __init__(self, lasting: timedelta, clock: Callable[[], float]) -> None:
        self._lasting, self._clock = lasting.total_seconds(), clock
        self._since: dict[Hashable, float] = {}

    def outlasted(self, doubted: Iterable[Doubted]) -> set[Doubted]:
        """Those of `doubted` that were doubted in every call for as long as we wait; the others are forgotten."""
        now, kept = self._clock(), list(doubted)
        self._since = {key: self._since.get(key, now) for key in kept}
        return {key for key in kept if now - self._since[key] >= self._lasting}


class Alarms:
    """Keeps what goes on for long from filling the log. `clock` in seconds, any zero."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sounded: dict[str, float] = {}

    def due(self, name: str) -> bool:
        """Whether to sound it now: the first time, and then once a minute."""
        now = self._clock()
        if now - self._sounded.get(name, -_ALARM_EVERY_SECONDS) < _ALARM_EVERY_SECONDS:
            return False
        self._sounded[name] = now
        return True
