"""A node's request before it is answered: whom it is for, whose it is, and a body that can't hurt whoever reads it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from coordinator.api.hangup import ClientGone
from coordinator.protocol import signing

# A node gives its own post up after 30 s.
_BODY_SECONDS: Final = 60.0
# Whose a body is, is only known once it is there. So that strangers can't fill the memory with what they never finish,
# few are read at a time beyond this size; long answers are rare, and wait.
_LONG_BYTES: Final = 1024 * 1024
_LONG_AT_ONCE: Final = 8
# A heartbeat has the most strings: two lists of 4,096, and the names of its fields. Everything else in a message is
# punctuation: of a Report's few bytes of it, 64 KiB are spaces that somebody likes.
_MOST_STRINGS: Final = 2 * 4096 + 64
_MOST_BETWEEN: Final = 64 * 1024
# Milliseconds have 13 digits until 2286.
_TIME: Final = re.compile(r"[0-9]{1,15}")
_LOOPBACK: Final = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")


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


class Calls:
    """Reads and proves. All of it raises NodeRefused, and ClientGone when nobody is left to answer.

    `patience`: seconds in which a body has to come."""

    def __init__(self, audience: Audience, patience: float = _BODY_SECONDS) -> None:
        self._audience, self._patience = audience, patience
        self._long = asyncio.Semaphore(_LONG_AT_ONCE)

    async def proved(self, request: Request, limit: int) -> Call:
        """Signed by whom it says, for us, just now. `limit`: bytes of the body, which is read last."""
        said = self._headers(request)
        body = await self.body(request, limit)
        path: str = request.scope["path"]  # as it was routed; `request.url` would ask the Host header as well
        digest = signing.request_digest(said.audience, request.method, path, said.time_ms, said.nonce, body)
        try:
            signer = signing.recover(digest, said.signature)
        except signing.SignatureMismatch:
            signer = ""
        if signer != said.node:
            raise NodeRefused(401, "BAD_SIGNATURE", "The signature is not of the address in x-node-address.")
        return Call(signer, said.nonce, body)

    async def body(self, request: Request, limit: int) -> bytes:
        """Of no more than `limit` bytes, in time, and flat."""
        try:
            async with asyncio.timeout(self._patience):
                body = await self._read(request, limit)
        except TimeoutError:
            raise NodeRefused(408, "TOO_SLOW", f"The body did not come within {self._patience:.0f} s.") from None
        except ClientDisconnect:
            raise ClientGone from None
        if not is_flat(body):
            raise NodeRefused(422, "MALFORMED", "body: more parts than any message has")
        return body

    async def _read(self, request: Request, limit: int) -> bytes:
        parts, size, long = [], 0, False
        try:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise NodeRefused(413, "TOO_LARGE", f"The body is larger than {limit} bytes.")
                if size > _LONG_BYTES and not long:
                    long = await self._long.acquire()
                parts.append(part)
        finally:
            if long:
                self._long.release()
        return b"".join(parts)

    def _headers(self, request: Request) -> signing.SignedHeaders:
        found = request.headers
        names = (signing.NODE_HEADER, signing.AUDIENCE_HEADER, signing.NONCE_HEADER, signing.SIGNATURE_HEADER)
        told = found.get(signing.TIME_HEADER, "")
        if not all(name in found for name in names) or not _TIME.fullmatch(told):
            raise NodeRefused(401, "BAD_SIGNATURE", "The request lacks the five x-node- headers.")
        node, audience, nonce, signature = (found[name] for name in names)
        off_ms = int(told) - round(time.time() * 1000)
        if abs(off_ms) > signing.TIME_WINDOW_MS:
            raise NodeRefused(401, "CLOCK_OFF", f"The node's clock is off by {off_ms / 1000:.0f} s. Set it by NTP.")
        if not 16 <= len(nonce) <= 64:
            raise NodeRefused(401, "BAD_SIGNATURE", "The nonce must have 16 to 64 characters.")
        if not self._audience.ours(audience):
            raise NodeRefused(401, "WRONG_AUDIENCE", self._audience.remedy(audience))
        return signing.SignedHeaders(node, audience, int(told), nonce, signature)


def is_flat(body: bytes) -> bool:
    """Whether JSON holds no more strings and other parts than a message has, however long its strings are.

    What reads it makes an object of every part first: 64 MiB of `[{},{},…]` or of unknown fields are gigabytes, and a
    minute in which nobody else is served. Looking costs a few µs, and for the longest about as much as hashing them.
    """
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # what is left of quotes begins and ends strings
    parts = bare.split(b'"', 2 * _MOST_STRINGS)
    return len(parts) <= 2 * _MOST_STRINGS and sum(map(len, parts[::2])) <= _MOST_BETWEEN
