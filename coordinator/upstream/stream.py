"""Server-sent events that pass through: cut at frame ends, looked into only as far as the stream's fate needs.

opened ──begin()──► first data frame here ──► frames … ──► `data: [DONE]`   the answer is whole
              └─► RelayError                          └──► error frame      it is not, and never says [DONE]
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import orjson

from coordinator.errors import RelayError, UpstreamError, UpstreamTimeout
from coordinator.upstream.endpoint import Endpoint
from coordinator.upstream.refusals import of_error_frame, of_exception

MAX_FRAME: Final = 4 * 1024 * 1024
# JSON has no raw line break inside a string, so what stands at the start of a line is never a part of an answer's text.
_DONE: Final = re.compile(rb"^data:[ ]?\[DONE\][ ]?\r?$", re.MULTILINE)
_DATA: Final = re.compile(rb"^data:[ ]?(.*)$", re.MULTILINE)
# The terminating chunk of HTTP comes right behind [DONE]; with it the connection can be used again.
_TAIL_S: Final = 0.05


def error_frame(error: RelayError) -> bytes:
    told = {"error": {"message": error.message, "type": error.type, "code": error.status}}
    return b"data: " + orjson.dumps(told) + b"\n\n"


class EventStream:
    """Yields one or more whole frames at a time, as they come. Close it, whatever happens."""

    def __init__(self, endpoint: Endpoint, response: aiohttp.ClientResponse) -> None:
        endpoint.in_flight += 1
        self._endpoint = endpoint
        self._response = response
        self._rest = b""  # of a frame that isn't whole yet
        self._first: bytes | None = None
        self._ended = False
        self._closed = False
        self._silence = _Silence(endpoint.silence_s, response.close)

    async def begin(self) -> None:
        """Returns when the first data frame is here. Raises RelayError when what comes is none, or holds an error:
        nothing has gone out yet, so another upstream can still be asked.
        """
        try:
            frames = await self._next()
            while not (found := _DATA.search(frames)):
                frames = await self._next()
        except (aiohttp.ClientError, EOFError) as error:
            raise _broken(error) from error
        if found[1].rstrip() == b"[DONE]":
            raise UpstreamError("The upstream ended its answer before it began.")
        if (told := _error_in(frames)) is not None:
            raise of_error_frame(told)
        self._first = frames

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            frames, self._first = self._first, None
        elif self._ended:
            raise StopAsyncIteration
        else:
            frames = await self._next_or_error()
        return self._to_the_end(frames)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._silence.end()
        self._endpoint.in_flight -= 1
        try:
            if self._ended and not self._response.content.at_eof():
                async with asyncio.timeout(_TAIL_S):
                    await self._response.content.readany()
        except (TimeoutError, aiohttp.ClientError):
            pass
        finally:
            if self._response.content.at_eof():
                self._response.release()
            else:
                self._response.close()

    async def _next_or_error(self) -> bytes:
        self._silence.listen()
        try:
            return await self._next()
        except (aiohttp.ClientError, EOFError) as error:
            if self._silence.too_long:
                return self._failed(UpstreamTimeout("The upstream fell silent before the answer was whole."))
            return self._failed(_broken(error))
        except UpstreamError as error:
            return self._failed(error)
        finally:
            self._silence.heard()

    def _failed(self, error: RelayError) -> bytes:
        self._endpoint.failed(error)
        return error_frame(error)

    async def _next(self) -> bytes:
        """One or more whole frames. Raises EOFError at the end."""
        while True:
            chunk = await self._response.content.readany()
            if not chunk:
                return self._last()
            frames = self._rest + chunk
            end = _frames_end(frames)
            self._rest = frames[end:]
            if end:
                return frames[:end]
            if len(self._rest) > MAX_FRAME:
                raise UpstreamError("The upstream sent a frame that is too long.")

    def _last(self) -> bytes:
        """Some upstreams leave out the blank line behind [DONE]."""
        rest, self._rest = self._rest.strip(), b""
        if _DONE.fullmatch(rest):
            return rest + b"\n\n"
        raise EOFError

    def _to_the_end(self, frames: bytes) -> bytes:
        """Notices the last frame: [DONE], behind which nothing counts, or an error, which no [DONE] may follow."""
        if b"[DONE]" in frames and (done := _DONE.search(frames)):
            self._ended = True
            frames = frames[: done.start()] + b"data: [DONE]\n\n"
        if b'"error"' in frames and _error_in(frames) is not None:
            self._ended = True
            frames = _DONE.sub(b"", frames).rstrip() + b"\n\n"
        return frames


class _Silence:
    """Gives up on an upstream that says nothing for `seconds` while it is listened to.

    One timer for the whole stream, put off as frames come: a timeout around each read cost as much as the frame.
    """

    def __init__(self, seconds: float, give_up: Callable[[], None]) -> None:
        self.too_long = False
        self._seconds, self._give_up = seconds, give_up
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def listen(self) -> None:
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def heard(self) -> None:
        self._since = None

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        since = now if self._since is None else self._since
        if now - since >= self._seconds:
            self.too_long = True
            self._give_up()
        else:
            self._timer = self._loop.call_at(since + self._seconds, self._look)


def _frames_end(frames: bytes) -> int:
    """How much of it is whole frames: up to and with the last blank line."""
    if frames.endswith(b"\n\n"):
        return len(frames)
    plain, crlf = frames.rfind(b"\n\n"), frames.rfind(b"\r\n\r\n")
    return max(plain + 2 if plain >= 0 else 0, crlf + 4 if crlf >= 0 else 0)


def _error_in(frames: bytes) -> Any:
    """The error that one of the frames reports instead of a part of the answer; None when there is none."""
    for line in _DATA.finditer(frames):
        if b'"error"' not in line[1]:
            continue
        try:
            told = orjson.loads(line[1])
        except orjson.JSONDecodeError:
            continue
        if isinstance(told, dict) and told.get("error") and not told.get("choices"):
            return told["error"]
    return None


def _broken(error: Exception) -> RelayError:
    if isinstance(error, aiohttp.ClientError):
        return of_exception(error)
    return UpstreamError("The upstream ended before the answer was whole.")
