"""What nodes call: network, challenge, session, heartbeat, reports, leave, standing.

All but the first two are signed over their raw bytes (`protocol/signing.py`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from coordinator.api.front_door import Handler
from coordinator.errors import StoreUnavailable
from coordinator.protocol import session as wire
from coordinator.protocol import signing
from coordinator.protocol.report import Report, ReportReply

Message = TypeVar("Message", bound=BaseModel)

# A Report may carry a long answer twice escaped; everything else a node says is small.
_MAX_REPORT_BYTES = 64 * 1024 * 1024
_MAX_BYTES = 1024 * 1024


class NodeRefused(Exception):
    """What a node is told instead of an answer: a code to act on, and words for its operator."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> Response:
        body = _Refused(error=_Reason(code=self.code, message=self.message))
        return Response(body.model_dump_json(), self.status, media_type="application/json")


class _Reason(BaseModel):
    code: str
    message: str


class _Refused(BaseModel):
    error: _Reason


class NodeDesk(Protocol):
    """Behind the routes. Raises NodeRefused and StoreUnavailable. A nonce is remembered by what it is given to."""

    async def network(self) -> wire.Network: ...
    async def standing(self, node: str) -> wire.Standing: ...
    async def challenge(self, node: str) -> wire.Challenge: ...
    async def sign_in(self, request: wire.SessionRequest, nonce: str) -> wire.SessionGrant: ...
    async def heartbeat(self, node: str, beat: wire.Heartbeat, nonce: str) -> wire.HeartbeatReply: ...
    async def report(self, node: str, report: Report) -> ReportReply: ...
    async def leave(self, node: str, leave: wire.Leave, nonce: str) -> None: ...


_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")


class Audience:
    """Under which names nodes may call us. Without any, those of this machine alone: a node elsewhere signs for the
    name that it dials, and what it signs for another coordinator is none of ours."""

    def __init__(self, urls: Iterable[str] = ()) -> None:
        self._names = frozenset(signing.audience(url) for url in urls)

    def ours(self, name: str) -> bool:
        return name in self._names if self._names else _LOOPBACK.fullmatch(name) is not None

    def remedy(self, name: str) -> str:
        known = ", ".join(sorted(self._names)) or "localhost"
        return (
            f"The request is signed for {name[:100]!r}, and this coordinator is {known}. Call it by that name, or have "
            "its operator put the address that nodes use into RELAY_PUBLIC_URL."
        )


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose sender is proved, and that it was meant for us."""

    node: str
    nonce: str
    body: bytes


def node_routes(desk: NodeDesk, audience: Audience) -> dict[tuple[str, str], Handler]:
    """Handlers by method and path, for the front door: a Report is on the hot path. Not in the public document."""

    async def network(request: Request) -> BaseModel:
        return await desk.network()

    async def standing(request: Request) -> BaseModel:
        # no nonce to remember: it changes nothing, and strangers may ask as well
        call = _proved(request, await _body(request, _MAX_BYTES), audience)
        _parse(wire.StandingRequest, call.body)
        return await desk.standing(call.node)

    async def challenge(request: Request) -> BaseModel:
        asked = _parse(wire.ChallengeRequest, await _body(request, _MAX_BYTES))
        return await desk.challenge(asked.node)

    async def sign_in(request: Request) -> BaseModel:
        call = _proved(request, await _body(request, _MAX_BYTES), audience)
        asked = _parse(wire.SessionRequest, call.body)
        _same(call.node, asked.node)
        return await desk.sign_in(asked, call.nonce)

    async def heartbeat(request: Request) -> BaseModel:
        call = _proved(request, await _body(request, _MAX_BYTES), audience)
        return await desk.heartbeat(call.node, _parse(wire.Heartbeat, call.body), call.nonce)

    async def report(request: Request) -> BaseModel:
        # no nonce to remember: a repeated Report is fenced by its attempt
        call = _proved(request, await _body(request, _MAX_REPORT_BYTES), audience)
        return await desk.report(call.node, _parse(Report, call.body))

    async def leave(request: Request) -> BaseModel:
        call = _proved(request, await _body(request, _MAX_BYTES), audience)
        await desk.leave(call.node, _parse(wire.Leave, call.body), call.nonce)
        return wire.HeartbeatReply()

    handlers = {
        wire.CHALLENGE_PATH: challenge,
        wire.SESSION_PATH: sign_in,
        wire.HEARTBEAT_PATH: heartbeat,
        wire.REPORT_PATH: report,
        wire.LEAVE_PATH: leave,
        wire.STANDING_PATH: standing,
    }
    posts = {("POST", path): _answering(handler) for path, handler in handlers.items()}
    return {**posts, ("GET", wire.NETWORK_PATH): _answering(network)}


def _answering(handler: Callable[[Request], Awaitable[BaseModel]]) -> Handler:
    async def answer(scope: Scope, receive: Receive) -> Response:
        try:
            reply = await handler(Request(scope, receive))
        except NodeRefused as refused:
            return refused.response()
        except StoreUnavailable as error:
            return NodeRefused(503, "STORE_UNAVAILABLE", error.message).response()
        return Response(reply.model_dump_json(), media_type="application/json")

    return answer


async def _body(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise NodeRefused(413, "TOO_LARGE", f"The body is larger than {limit} bytes.")
        parts.append(part)
    return b"".join(parts)


def _parse(kind: type[Message], body: bytes) -> Message:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise NodeRefused(422, "MALFORMED", f"{where}: {first['msg']}") from None


def _headers(request: Request) -> signing.SignedHeaders:
    found = request.headers
    try:
        return signing.SignedHeaders(
            found[signing.NODE_HEADER],
            found[signing.AUDIENCE_HEADER],
            int(found[signing.TIME_HEADER]),
            found[signing.NONCE_HEADER],
            found[signing.SIGNATURE_HEADER],
        )
    except (KeyError, ValueError):
        raise NodeRefused(401, "BAD_SIGNATURE", "The request lacks the five x-node- headers.") from None


def _proved(request: Request, body: bytes, audience: Audience) -> Call:
    said = _headers(request)
    off_ms = said.time_ms - round(time.time() * 1000)
    if abs(off_ms) > signing.TIME_WINDOW_MS:
        raise NodeRefused(401, "CLOCK_OFF", f"The node's clock is off by {off_ms / 1000:.0f} s. Set it by NTP.")
    if not 16 <= len(said.nonce) <= 64:
        raise NodeRefused(401, "BAD_SIGNATURE", "The nonce must have 16 to 64 characters.")
    if not audience.ours(said.audience):
        raise NodeRefused(401, "WRONG_AUDIENCE", audience.remedy(said.audience))
    path = request.url.path
    digest = signing.request_digest(said.audience, request.method, path, said.time_ms, said.nonce, body)
    try:
        signer = signing.recover(digest, said.signature)
    except signing.SignatureMismatch:
        signer = ""
    if signer != said.node:
        raise NodeRefused(401, "BAD_SIGNATURE", "The signature is not of the address in x-node-address.")
    return Call(signer, said.nonce, body)


def _same(signer: str, claimed: str) -> None:
    if signer != claimed:
        raise NodeRefused(401, "BAD_SIGNATURE", "The signer is not the node that is to sign in.")
