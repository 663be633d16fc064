"""Which attempts' first tokens have come, and when to say so out of turn.

The coordinator measures nodes by it, and gives up an attempt whose first token is late. Most answers are over before it
would interest anybody, so a token is told a quarter of a second after it came, if its attempt still runs; the beat that
tells it tells all, so that there are at most four more beats a second, however many attempts there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta

from coordinator.protocol.ids import AttemptId

_DELAY = timedelta(milliseconds=250)


class Answering:
    """`beat` asks for a heartbeat, which lists what has `begun`. All of it runs in the event loop's thread."""

    def __init__(self, beat: Callable[[], None], delay: timedelta = _DELAY) -> None:
        self._beat = beat
        self._delay = delay.total_seconds()
        # attempt → when its first token came, by the loop's clock; None when it need not be told out of turn any more
        self._begun: dict[AttemptId, float | None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def heard(self, attempt: AttemptId) -> None:
        """Its first token has come."""
        loop = asyncio.get_running_loop()
        self._begun.setdefault(attempt, loop.time())
        if self._timer is None:
            self._timer = loop.call_later(self._delay, self._look)

    def answered(self, attempt: AttemptId) -> None:
        """Its Report is on its way, and may be for a while."""
        self._begun[attempt] = None

    def forget(self, attempt: AttemptId) -> None:
        """There will be no answer."""
        self._begun.pop(attempt, None)

    def begun(self, held: Iterable[AttemptId]) -> tuple[AttemptId, ...]:
        """Those of `held` that have, for a heartbeat that goes out now; lets go of all others."""
        self._begun = {attempt: None for attempt in held if attempt in self._begun}
        return tuple(self._begun)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        untold = [since for since in self._begun.values() if since is not None]
        if not untold:
            return
        due = min(untold) + self._delay
        if due <= loop.time():
            self._beat()
            due = loop.time() + self._delay
        self._timer = loop.call_at(due, self._look)
