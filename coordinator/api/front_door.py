"""The outermost ASGI layer: names every request, answers the hot path itself, lets no exception out."""

from __future__ import annotations

import random
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.api.failures import Failure
from coordinator.api.hangup import ClientGone
from coordinator.api.limits import AT_THE_END, RESPONSE_HEADERS
from coordinator.errors import InternalError, InvalidRequest, RelayError

Handler = Callable[[Scope, Receive], Awaitable[Response]]
_KEY_IN_URL: Final = "url: holds an API key. Send keys as X-API-Key or Bearer token; revoke this one if others saw it."
_INTERNAL: Final = "Something went wrong here. The operator finds it in the log under the request id."

log = structlog.get_logger("api")


class FrontDoor:
    """`hot` maps (method, path) to handlers that skip the framework's routing and middleware; the answers are alike."""

    def __init__(self, app: ASGIApp, hot: Mapping[tuple[str, str], Handler]) -> None:
        self.app = app
        self._hot = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["request_id"] = request_id = new_request_id()
        name, started = (b"x-request-id", request_id.encode()), False

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), name, *scope.get(RESPONSE_HEADERS, ())]
            await send(message)

        try:
            await self._answer(scope, receive, named)
        except ClientGone:
            return
        except Exception as error:
            _tell_the_operator(error, request_id)
            if not started:
                await internal_failure(request_id)(scope, receive, named)
        finally:
            if at_the_end := scope.get(AT_THE_END):
                at_the_end()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._hot.get((scope["method"], scope["path"]))
        if _shows_a_key(scope):
            await Failure.of(InvalidRequest(_KEY_IN_URL, status=400)).response(scope["request_id"])(
                scope, receive, send
            )
            return
        if handler is None:
            await self.app(scope, receive, send)
            return
        try:
            response = await handler(scope, receive)
        except RelayError as error:
            response = Failure.of(error).response(scope["request_id"])
        await response(scope, receive, send)


def _shows_a_key(scope: Scope) -> bool:
    """URLs stand in logs and histories: a key in one is refused wherever it is, before anything looks at it."""
    query: bytes = scope["query_string"]
    return "relay_sk_" in scope["path"] or (bool(query) and b"relay_sk_" in unquote_to_bytes(query))


def new_request_id() -> str:
    """A random UUID (version 4). It names a line in a log and opens nothing, so it needs no system call for secrecy."""
    text = f"{random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"


def internal_failure(request_id: str) -> Response:
    return Failure.of(InternalError(_INTERNAL)).response(request_id)


def _tell_the_operator(error: Exception, request_id: str) -> None:
    """Where it broke, and the kind. The message may hold a client's words: it stays out of the log."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("request failed", request_id=request_id, error=type(error).__name__, frames=frames[-8:])
