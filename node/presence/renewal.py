"""A session renewed in time, beside its heartbeats: what fails is tried again while the old one is still good."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from coordinator.protocol.session import SessionGrant

# Of a session's life. Nodes that signed in together don't come back together.
_EARLIEST, _LATEST = 0.75, 0.85
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


class Renewal:
    """`sign_in` is called when it is time; `wake` when it has ended. Of one session; `close` it with that."""

    def __init__(
        self, sign_in: Callable[[], Coroutine[Any, Any, SessionGrant]], life_seconds: float, wake: Callable[[], None]
    ) -> None:
        self._sign_in, self._wake = sign_in, wake
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + life_seconds * random.uniform(_EARLIEST, _LATEST)
        self._pause = _FIRST_PAUSE_SECONDS
        self._running: asyncio.Task[SessionGrant] | None = None

    def hasten(self) -> None:
        """Now, not only when it is time."""
        self._due = self._loop.time()

    @property
    def due_in(self) -> float:
        """Seconds; for ever while it is under way."""
        return max(self._due - self._loop.time(), 0.0) if self._running is None else float("inf")

    def look(self) -> SessionGrant | None:
        """Starts it when it is time; the new session's grant once that is there. Raises what `sign_in` raises."""
        if self._running is None and self.due_in == 0:
            self._running = self._loop.create_task(self._sign_in())
            self._running.add_done_callback(lambda _: self._wake())
        if self._running is None or not self._running.done():
            return None
        ended, self._running = self._running, None
        self._due = self._loop.time() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        return ended.result()

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
