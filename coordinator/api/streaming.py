"""A streamed answer: each frame goes out as it comes in, and a client that hangs up hangs up on the upstream too."""

from __future__ import annotations

import contextlib
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


class StreamedAnswer(Response):
    """200 and the frames. The stream says itself, in its last frame, whether it is whole."""

    def __init__(self, frames: FrameStream) -> None:
        self.status_code = 200
        self.raw_headers = list(_HEADERS)
        self.background = None
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(ClientGone):
                async with HangUp(receive):
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    async for frames in self._frames:
                        await send({"type": "http.response.body", "body": frames, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._frames.aclose()
