"""What strangers can do to whoever reads their bodies: too many parts, too long, too slow, never ending, hung up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from eth_keys.datatypes import PrivateKey
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message, Receive
from structlog.testing import capture_logs

from coordinator.api.front_door import FrontDoor
from coordinator.api.node_calls import Audience, Calls, NodeRefused, is_flat
from coordinator.api.nodes import node_routes
from coordinator.protocol import session, signing
from coordinator.protocol.session import HEARTBEAT_PATH, REPORT_PATH, Challenge, Heartbeat, HeartbeatReply

KEY = PrivateKey(bytes(31) + b"\x01")
MIB = 1024 * 1024
TASK = "opengpu:00000000-0000-4000-8000-000000000000"


def asked(receive: Receive, path: str = REPORT_PATH, headers: dict[str, str] | None = None, **more: Any) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request(
        {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": raw, **more}, receive
    )


def coming(*parts: bytes) -> Receive:
    left = list(parts)

    async def receive() -> Message:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return receive


async def refusal(request: Request, limit: int = MIB, calls: Calls | None = None) -> str:
    with pytest.raises(NodeRefused) as refused:
        await (calls or Calls(Audience())).proved(request, limit)
    return refused.value.code


class Desk:
    """Remembers what got through to it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def challenge(self, node: str) -> Challenge:
        self.reached.append("challenge")
        return Challenge(challenge="c", expires_in_s=60)

    async def heartbeat(self, node: str, beat: Heartbeat, nonce: str) -> HeartbeatReply:
        self.reached.append("heartbeat")
        return HeartbeatReply()


async def posted(path: str, body: bytes, desk: Desk | None = None) -> httpx.Response:
    app = FrontDoor(FastAPI(), node_routes(desk or Desk(), Audience()))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        headers = signing.sign_request(KEY, "POST", path, body, "localhost")
        return await http.post(path, content=body, headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"%x":1' % number for number in range(100_000)) + b"}",
        b'{"answer":[' + b"{}," * 100_000 + b"0]}",
        b'{"answer":' + b"[" * 100_000,
        b'{"answer":[' + b'"",' * 100_000 + b'""]}',
        b" " * 100_000 + b"{}",
    ],
    ids=["fields", "objects", "depth", "strings", "spaces"],
)
async def test_a_body_of_many_parts_is_refused_unread(body: bytes) -> None:
    reply = await posted(REPORT_PATH, body)
    assert (reply.status_code, reply.json()["error"]["message"]) == (422, "body: more parts than any message has")


async def test_nobody_needs_a_key_for_a_challenge_and_it_is_short() -> None:
    desk = Desk()
    assert (await posted(session.CHALLENGE_PATH, b'{"node":"%b"}' % (b"a" * 1024), desk)).status_code == 413
    address = str(KEY.public_key.to_checksum_address()).encode()
    assert (await posted(session.CHALLENGE_PATH, b'{"node":"%b"}' % address, desk)).status_code == 200
    assert desk.reached == ["challenge"]


async def test_the_largest_heartbeat_is_heard() -> None:
    desk, attempts = Desk(), tuple(f"{TASK}#{number}" for number in range(4096))
    beat = Heartbeat(session="0" * 32, running=attempts, answering=attempts)
    for body in (beat.model_dump_json().encode(), json.dumps(beat.model_dump(), indent=1).encode()):
        assert (await posted(HEARTBEAT_PATH, body, desk)).status_code == 200
    assert desk.reached == ["heartbeat"] * 2


TEXT = st.text(st.sampled_from('"\\n\u00e9[{,: ') | st.characters(codec="utf-8"))


@given(
    st.dictionaries(TEXT, TEXT, max_size=8), st.sampled_from([orjson.dumps, lambda value: json.dumps(value).encode()])
)
def test_what_a_string_holds_is_no_part(fields: dict[str, str], dumps: Callable[[Any], bytes]) -> None:
    long = {name: value + '"\\{},[' * 20_000 for name, value in fields.items()}
    assert is_flat(dumps(long))
    assert not is_flat(dumps({**long, "more": [0] * 50_000}))


@pytest.mark.parametrize(
    "change", [{signing.TIME_HEADER: "1"}, {signing.AUDIENCE_HEADER: "elsewhere"}, {signing.NONCE_HEADER: "n"}]
)
async def test_what_the_headers_refuse_is_not_read(change: dict[str, str]) -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    headers = signing.sign_request(KEY, "POST", REPORT_PATH, b"", "localhost")
    await refusal(asked(receive, headers=headers | change))
    await refusal(asked(receive))


async def test_the_query_and_the_host_have_no_say_in_what_was_signed() -> None:
    headers = signing.sign_request(KEY, "POST", REPORT_PATH, b"{}", "localhost")
    for query in (b"x=1", b"\xff"):
        for host in ("localhost", f"localhost{REPORT_PATH}?"):
            call = asked(coming(b"{}"), headers={**headers, "host": host}, query_string=query)
            assert (await Calls(Audience()).proved(call, MIB)).node == KEY.public_key.to_checksum_address()
            other = asked(coming(b"{}"), HEARTBEAT_PATH, {**headers, "host": host}, query_string=query)
            assert await refusal(other) == "BAD_SIGNATURE"


async def test_a_body_that_never_ends_is_given_up() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    headers = signing.sign_request(KEY, "POST", REPORT_PATH, b"", "localhost")
    calls = Calls(Audience(), patience=0.01)
    assert await refusal(asked(receive, headers=headers), calls=calls) == "TOO_SLOW"


async def test_a_body_is_too_large_as_soon_as_it_is() -> None:
    headers = signing.sign_request(KEY, "POST", REPORT_PATH, b"", "localhost")
    assert await refusal(asked(coming(b"x" * 600, b"x" * 600, b"x"), headers=headers), limit=1000) == "TOO_LARGE"


async def test_few_long_bodies_are_in_memory_at_a_time() -> None:
    """Each stops in the middle of what would be 64 MiB: the ninth is not read on before another has gone."""
    calls, waiting, going_on = Calls(Audience()), asyncio.Queue[None](), asyncio.Event()

    def half() -> Receive:
        first = True

        async def receive() -> Message:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b" " * (MIB + 1), "more_body": True}
            waiting.put_nowait(None)
            await going_on.wait()
            return {"type": "http.disconnect"}

        return receive

    reading = [asyncio.create_task(calls.body(asked(half()), 64 * MIB)) for _ in range(9)]
    for _ in range(8):
        await waiting.get()
    assert waiting.empty()
    reading[0].cancel()
    await waiting.get()
    going_on.set()
    await asyncio.gather(*reading, return_exceptions=True)


async def test_a_node_that_hangs_up_is_no_failure_of_ours() -> None:
    app = FrontDoor(FastAPI(), node_routes(Desk(), Audience()))  # type: ignore[arg-type]
    headers = signing.sign_request(KEY, "POST", REPORT_PATH, b"{}", "localhost")
    messages: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there")

    with capture_logs() as logs:
        await app(asked(receive, headers=headers).scope, receive, send)
    assert logs == []
