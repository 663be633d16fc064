"""Doubts that must last before they are acted upon: endpoints behind a load balancer contradict each other at times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import timedelta
from typing import TypeVar

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
