"""Gives a backend up that has begun its answer and says nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Silence:
    """Calls `give_up` when nothing was `heard` for `seconds`; not before the first time, which may take a long prompt.

    One timer for the whole answer, which looks at a clock that each frame moves: a timeout around each read would cost
    more than the frame.
    """

    def __init__(self, seconds: float, give_up: Callable[[], None]) -> None:
        self.too_long = False
        self._seconds, self._give_up = seconds, give_up
        self._loop = asyncio.get_running_loop()
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def heard(self) -> None:
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + self._seconds, self._look)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        due = self._since + self._seconds
        if self._loop.time() >= due:
            self.too_long = True
            self._give_up()
        else:
            self._timer = self._loop.call_at(due, self._look)
