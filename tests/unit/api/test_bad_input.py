"""What can't be served is refused with the right status and the field's name; nothing is submitted or echoed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.api.requests import Asked, OpenAIChatRequest
from coordinator.errors import InvalidRequest
from tests.unit.api.conftest import CHAT, World, asking

SECRET = "s3cret-prompt"
DEEP = b'{"model":"relay/both","messages":[{"role":"user","content":' + b"[" * 400 + b"]" * 400 + b"}]}"

FIELDS: list[tuple[dict[str, Any], int, str]] = [
    ({"colour": SECRET}, 422, "colour"),
    ({"messages": []}, 422, "messages"),
    ({"messages": SECRET}, 422, "messages"),
    ({"messages": [SECRET]}, 422, "messages"),
    ({"messages": [{"content": SECRET}]}, 422, "messages"),
    ({"messages": [{"role": 3}]}, 422, "messages"),
    ({"messages": None}, 422, "messages"),
    ({"model": None}, 422, "model"),
    ({"model": 3}, 422, "model"),
    ({"temperature": 2.1}, 422, "temperature"),
    ({"temperature": "0.5"}, 422, "temperature"),
    ({"temperature": True}, 422, "temperature"),
    ({"top_p": -0.1}, 422, "top_p"),
    ({"max_tokens": 0}, 422, "max_tokens"),
    ({"max_tokens": 128_001}, 422, "max_tokens"),
    ({"max_completion_tokens": 1.5}, 422, "max_completion_tokens"),
    ({"n": 11}, 422, "n"),
    ({"n": True}, 422, "n"),
    ({"top_logprobs": 21}, 422, "top_logprobs"),
    ({"presence_penalty": -3}, 422, "presence_penalty"),
    ({"stop": ["a", "b", "c", "d", "e"]}, 422, "stop"),
    ({"stop": [1]}, 422, "stop"),
    ({"stream": "yes"}, 422, "stream"),
    ({"async": 1}, 422, "async"),
    ({"mode": "cloud"}, 422, "mode"),
    ({"seed": 2**63}, 422, "seed"),
    ({"seed": 10**400}, 422, "body"),
    ({"top_k": -1}, 422, "top_k"),
    ({"logit_bias": [1]}, 422, "logit_bias"),
    ({"reasoning_effort": "enormous"}, 422, "reasoning_effort"),
    ({"webhook_url": "http://example.com"}, 422, "webhook_url"),
    ({"webhook_url": "https://" + "a" * 2048}, 422, "webhook_url"),
    ({"webhook_url": "https://example.com"}, 400, "webhook_url"),
    ({"webhook_url": "https://example.com", "async": True}, 401, "webhook_url"),
    ({"webhook_url": "https://127.0.0.1", "async": True}, 422, "webhook_url"),
    ({"asynchronous": True}, 422, "asynchronous"),
    ({"stream": True, "async": True}, 400, "stream"),
    ({"stream": True, "mode": "opengpu"}, 400, "stream"),
    ({"stream": True, "model": "relay/network"}, 400, "stream"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
    ({"model": "nobody/has-this"}, 404, "model"),
    ({"model": "relay/network", "mode": "direct"}, 403, "mode"),
    ({"model": "direct-only", "mode": "opengpu"}, 403, "mode"),
]


@pytest.mark.parametrize(("fields", "status", "named"), FIELDS)
async def test_a_field_that_is_wrong(world: World, fields: dict[str, Any], status: int, named: str) -> None:
    body = json.dumps({**asking(), **fields}).encode()
    reply = await world.client.post(CHAT, content=body)
    told = reply.json()
    assert reply.status_code == status, told
    assert named in told["error"]["message"]
    if status == 422:
        assert all(set(item) == {"type", "loc", "msg"} for item in told["detail"])
        assert any(named in item["loc"] for item in told["detail"])
        assert told["error"]["code"] == "VALIDATION_ERROR"
    assert SECRET not in reply.text
    assert world.untouched


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json " + SECRET.encode(),
        b"[]",
        b"null",
        b'"' + SECRET.encode() + b'"',
        b'{"model":"relay/both"',
        b'{"model":"relay/both","messages":[{"role":"user","content":NaN}]}',
        b'{"model":"relay/both","messages":[{"role":"user","content":1e999}]}',
        b'{"model":"relay/both","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"relay/both","messages":[{"role":"user","content":"\\ud800"}]}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        DEEP,
        b"\x00" * 100,
    ],
    ids=range(15),
)
async def test_a_body_that_is_no_request(world: World, body: bytes) -> None:
    reply = await world.client.post(CHAT, content=body)
    assert reply.status_code == 422
    assert reply.json()["error"]["code"] == "VALIDATION_ERROR"
    assert reply.json()["detail"][0]["loc"][0] == "body"
    assert SECRET not in reply.text
    assert world.untouched


async def test_a_body_that_is_too_large_is_refused_with_the_limit(world: World) -> None:
    reply = await world.client.post(CHAT, content=b"x" * 20_000_000)
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "VALIDATION_ERROR"
    assert "8 MiB" in reply.json()["detail"]
    assert world.untouched


async def test_many_mistakes_make_a_short_answer(world: World) -> None:
    fields = {f"field-{number}-" + "x" * 500: number for number in range(5000)}
    reply = await world.client.post(CHAT, json=asking(**fields))
    assert len(reply.json()["detail"]) == 20
    assert len(reply.content) < 10_000
    assert "4980 more" in reply.json()["error"]["message"]


_LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(SECRET)
_ANY = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
_NAMES = st.sampled_from([field.alias or name for name, field in OpenAIChatRequest.model_fields.items()] + ["colour"])
_OBJECTS = st.dictionaries(_NAMES, _ANY, max_size=6).map(lambda fields: json.dumps({**asking(), **fields}).encode())


@given(body=_OBJECTS | _ANY.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_fuzzed_bodies_are_requests_or_refusals(body: bytes) -> None:
    """Never another exception (which would be a 500), never the input in the refusal."""
    told = ""
    try:
        Asked.parse(OpenAIChatRequest, body).forwarded("direct")
    except InvalidRequest as error:
        told = error.message + json.dumps(error.details)
    assert SECRET not in told


@given(body=_OBJECTS)
async def test_fuzzed_bodies_over_http(world: World, body: bytes) -> None:
    reply = await world.client.post(CHAT, content=body)
    assert reply.status_code in (200, 202, 400, 403, 404, 422), reply.text
    assert reply.status_code == 200 or SECRET not in reply.text
