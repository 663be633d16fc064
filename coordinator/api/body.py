"""Reads a request's body, up to a limit."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from starlette.types import Message, Receive

from coordinator.api.hangup import ClientGone
from coordinator.errors import InvalidRequest

MIB: Final = 1024 * 1024
DEFAULT_LIMIT: Final = 8 * MIB
# A client reads the refusal only once it has sent its body: what is too large is read on and dropped, within reason.
_DRAIN_BYTES: Final = 64 * MIB
_DRAIN_SECONDS: Final = 10.0


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """The whole body. Raises InvalidRequest (413) above `limit` bytes, and ClientGone."""
    told = dict(headers)
    length = told.get(b"content-length", b"")
    announced = int(length) if length.isdigit() else 0
    if announced > limit and b"expect" in told:  # it asks before it sends
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body") and announced <= limit:
        body: bytes = message.get("body", b"")  # nearly always: the whole body came with the headers
        if len(body) <= limit:
            return body
    return await _read_on(message, receive, limit)


async def _read_on(message: Message, receive: Receive, limit: int) -> bytes:
    body, read = bytearray(), 0
    deadline = time.monotonic() + _DRAIN_SECONDS
    while message["type"] != "http.disconnect":
        chunk: bytes = message.get("body", b"")
        read += len(chunk)
        if read <= limit:
            body += chunk
        elif read > _DRAIN_BYTES or time.monotonic() > deadline:
            raise _too_large(limit)
        if not message.get("more_body"):
            if read > limit:
                raise _too_large(limit)
            return bytes(body)
        message = await receive()
    raise ClientGone


def _too_large(limit: int) -> InvalidRequest:
    size = f"{limit // MIB} MiB" if limit % MIB == 0 else f"{limit} bytes"
    return InvalidRequest(f"body: larger than the limit of {size}", status=413)
