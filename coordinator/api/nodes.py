"""What nodes call: network, challenge, session, heartbeat, reports, leave, standing.

All but the first two are signed over their raw bytes (`protocol/signing.py`, `node_calls.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from coordinator.api.front_door import Handler
from coordinator.api.node_calls import Audience, Calls, NodeRefused
from coordinator.errors import StoreUnavailable
from coordinator.protocol import session as wire
from coordinator.protocol.report import Report, ReportReply

Message = TypeVar("Message", bound=BaseModel)

# A Report may carry a long answer twice escaped; 4,096 attempts in two lists, or 100 models, are far below a MiB.
_MAX_REPORT_BYTES = 64 * 1024 * 1024
_MAX_BYTES = 1024 * 1024
# An address or a session, and its name. Nobody needs a key to send a challenge's.
_MAX_WORD_BYTES = 1024


class NodeDesk(Protocol):
    """Behind the routes. Raises NodeRefused and StoreUnavailable. A nonce is remembered by what it is given to."""

    async def network(self) -> wire.Network: ...
    async def standing(self, node: str) -> wire.Standing: ...
    async def challenge(self, node: str) -> wire.Challenge: ...
    async def sign_in(self, request: wire.SessionRequest, nonce: str) -> wire.SessionGrant: ...
    async def heartbeat(self, node: str, beat: wire.Heartbeat, nonce: str) -> wire.HeartbeatReply: ...
    async def report(self, node: str, report: Report) -> ReportReply: ...
    async def leave(self, node: str, leave: wire.Leave, nonce: str) -> None: ...


def node_routes(desk: NodeDesk, audience: Audience) -> dict[tuple[str, str], Handler]:
    """Handlers by method and path, for the front door: a Report is on the hot path. Not in the public document."""
    calls = Calls(audience)

    async def network(request: Request) -> BaseModel:
        return await desk.network()

    async def standing(request: Request) -> BaseModel:
        # no nonce to remember: it changes nothing, and strangers may ask as well
        call = await calls.proved(request, _MAX_WORD_BYTES)
        _parse(wire.StandingRequest, call.body)
        return await desk.standing(call.node)

    async def challenge(request: Request) -> BaseModel:
        asked = _parse(wire.ChallengeRequest, await calls.body(request, _MAX_WORD_BYTES))
        return await desk.challenge(asked.node)

    async def sign_in(request: Request) -> BaseModel:
        call = await calls.proved(request, _MAX_BYTES)
        asked = _parse(wire.SessionRequest, call.body)
        _same(call.node, asked.node)
        return await desk.sign_in(asked, call.nonce)

    async def heartbeat(request: Request) -> BaseModel:
        call = await calls.proved(request, _MAX_BYTES)
        return await desk.heartbeat(call.node, _parse(wire.Heartbeat, call.body), call.nonce)

    async def report(request: Request) -> BaseModel:
        # no nonce to remember: a repeated Report is fenced by its attempt
        call = await calls.proved(request, _MAX_REPORT_BYTES)
        return await desk.report(call.node, _parse(Report, call.body))

    async def leave(request: Request) -> BaseModel:
        call = await calls.proved(request, _MAX_WORD_BYTES)
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


def _parse(kind: type[Message], body: bytes) -> Message:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise NodeRefused(422, "MALFORMED", f"{where}: {first['msg']}") from None


def _same(signer: str, claimed: str) -> None:
    if signer != claimed:
        raise NodeRefused(401, "BAD_SIGNATURE", "The signer is not the node that is to sign in.")
