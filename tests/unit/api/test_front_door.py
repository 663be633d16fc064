"""Every answer has a request id and the envelope; nothing lets a stack trace or a secret out. Keys and guests."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.fakes.relay import GOOD_KEY
from tests.unit.api.conftest import CHAT, World, asking


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", CHAT, 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/v2/models", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v2/tasks/x", 404, "TASK_NOT_FOUND"),
        ("GET", "/v2/tasks/x?wait=0", 422, "VALIDATION_ERROR"),
        ("POST", CHAT, 422, "VALIDATION_ERROR"),
    ],
)
async def test_failures_have_the_envelope(world: World, method: str, path: str, status: int, code: str) -> None:
    reply = await world.client.request(method, path)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["source"]) == (status, code, "client")
    assert set(error) == {"code", "type", "source", "message", "request_id"}
    assert error["request_id"] == reply.headers["x-request-id"]
    assert uuid.UUID(reply.headers["x-request-id"]).version == 4
    assert (status == 405) == ("allow" in reply.headers)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/chat/completions"), ("GET", CHAT)])
async def test_a_wrong_base_url_is_told_the_right_one(world: World, method: str, path: str) -> None:
    said = (await world.client.request(method, path)).json()["error"]["message"]
    assert "/v2/openai/v1," in said
    assert "/docs" in said


async def test_good_answers_have_a_request_id_of_their_own(world: World) -> None:
    ids = {(await world.client.get("/v2/health")).headers["x-request-id"] for _ in range(3)}
    ids.add((await world.ask()).headers["x-request-id"])
    assert len(ids) == 4


@pytest.mark.parametrize("path", ["/v2/models/relay/network", CHAT])
async def test_what_breaks_inside_stays_inside(world: World, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError("the prompt was s3cret")

    monkeypatch.setattr(world.relay, "opengpu_models", broken)
    monkeypatch.setattr(world.upstreams, "complete", broken)
    with capture_logs() as logs:
        reply = await (world.client.get(path) if path != CHAT else world.ask(mode="direct"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert reply.headers["x-request-id"] == reply.json()["error"]["request_id"] == logs[0]["request_id"]
    assert "s3cret" not in reply.text + str(logs)
    assert "ZeroDivisionError" not in reply.text
    assert logs[0]["error"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ({}, "guest:127.0.0.1"),
        ({"X-API-Key": GOOD_KEY}, "key_0000000000000001"),
        ({"Authorization": f"Bearer {GOOD_KEY}"}, "key_0000000000000001"),
        ({"Authorization": f"bearer  {GOOD_KEY}"}, "key_0000000000000001"),
        ({"X-API-Key": GOOD_KEY, "Authorization": "Bearer relay_sk_bad"}, "key_0000000000000001"),
        ({"Authorization": "Bearer relay_sk_bad", "x-api-key": GOOD_KEY}, "key_0000000000000001"),
    ],
)
async def test_who_calls(world: World, headers: dict[str, str], caller: str) -> None:
    await world.client.post(CHAT, json=asking(mode="opengpu"), headers=headers)
    assert world.relay.orders[0].caller == caller


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "relay_sk_bad"},
        {"X-API-Key": ""},
        {"X-API-Key": "relay_sk_bad", "Authorization": f"Bearer {GOOD_KEY}"},
        {"Authorization": "Bearer relay_sk_bad"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": GOOD_KEY},
    ],
)
async def test_a_bad_key_is_no_guest(world: World, headers: dict[str, str]) -> None:
    reply = await world.client.post(CHAT, json=asking(), headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "INVALID_API_KEY")
    assert "relay_sk_bad" not in reply.text
    assert world.untouched


_NAMES = st.sampled_from(["x-api-key", "authorization", "content-type", "content-length", "accept", "x-request-id"])
_VALUES = st.binary(max_size=60).filter(lambda value: not set(b"\r\n\x00") & set(value))
_PATHS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, blacklist_characters="#?"), max_size=30)


@given(path=_PATHS, headers=st.lists(st.tuples(_NAMES.map(str.encode), _VALUES), max_size=3))
async def test_fuzzed_paths_and_headers(world: World, path: str, headers: list[tuple[bytes, bytes]]) -> None:
    for place in ("/v2/tasks/", "/v2/models/", "/"):
        url = httpx.URL("http://relay", raw_path=(place + quote(path)).encode())
        reply = await world.client.get(url, headers=headers)
        assert reply.status_code < 500
        assert "x-request-id" in reply.headers
    body = await world.client.post(CHAT, json=asking(), headers=headers)
    assert body.status_code < 500
