"""A streamed answer: each frame goes out as it comes in, and a client that hangs up hangs up on the upstream too."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from coordinator.api.hangup import ClientGone, HangUp
from coordinator.api.ports import FrameStream

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would hold frames back
]
# A comment of server-sent events (WHATWG, 9.2.5): every client skips it, every proxy on the way sees life.
KEEP_ALIVE: Final = b": keep-alive\n\n"
# Below the 60 s after which nginx and most load balancers give a silent connection up.
QUIET: Final = timedelta(seconds=15)


class StreamedAnswer(Response):
    """200 and the frames, with a comment whenever there was none for `quiet`.

    The stream says itself, in its last frame, whether it is whole.
    """

    def __init__(self, frames: FrameStream, *, quiet: timedelta = QUIET) -> None:
        self.status_code = 200
        self.raw_headers = list(_HEADERS)
        self.background = None
        self._frames = frames
        self._quiet = quiet.total_seconds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        signs = _SignsOfLife(send, self._quiet)
        try:
            with contextlib.suppress(ClientGone):
                async with HangUp(receive):
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    signs.begin()
                    async for frames in self._frames:
                        await send({"type": "http.response.body", "body": frames, "more_body": True})
                        signs.spoken()
                await signs.end()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await signs.end()
            await self._frames.aclose()


class _SignsOfLife:
    """One timer for a whole stream, put off as frames go out: it costs a frame next to nothing."""

    def __init__(self, send: Send, quiet: float) -> None:
        self._send, self._quiet = send, quiet
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._last = 0.0

    def begin(self) -> None:
        self.spoken()
        self._timer = self._loop.call_later(self._quiet, self._look)

    def spoken(self) -> None:
        self._last = self._loop.time()

    async def end(self) -> None:
        """Nothing of its own goes out after this."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    def _look(self) -> None:
        now = self._loop.time()
        if now - self._last >= self._quiet and (self._sending is None or self._sending.done()):
            self._last = now
            self._sending = self._loop.create_task(self._comment())
        self._timer = self._loop.call_at(max(self._last + self._quiet, now + self._quiet / 4), self._look)

    async def _comment(self) -> None:
        await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
