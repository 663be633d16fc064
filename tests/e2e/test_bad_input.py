"""What can't be served is refused with the right status, in words that name the field, and nothing of it is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.e2e.relay_client import CHAT, body
from tests.parts.network import RunningNetwork

MIB = 2**20
STORED = ("relay:task:*", "relay:record:*", "relay:line*", "relay:outbox:*", "relay:deadlines")

BAD: dict[str, tuple[bytes | dict[str, Any], int, str]] = {
    "malformed JSON": (b'{"model": "relay/tiny-chat", "messages": [', 422, "JSON"),
    "not JSON at all": (b"hello", 422, "JSON"),
    "not an object": (b"[]", 422, ""),
    "not UTF-8": (b'{"model": "\xff"}', 422, ""),
    "an empty body": (b"", 422, ""),
    "no messages": ({"model": "relay/tiny-chat"}, 422, "messages"),
    "no model": ({"messages": [{"role": "user", "content": "Hello!"}]}, 422, "model"),
    "an unknown field": (body(colour="blue"), 422, "colour"),
    "a wrong type": (body(temperature="warm"), 422, "temperature"),
    "a boolean for a number": (body(seed=True), 422, "seed"),
    "too hot": (body(temperature=2.5), 422, "temperature"),
    "too many answers": (body(n=11), 422, "n"),
    "no answers": (body(n=0), 422, "n"),
    "too many tokens": (body() | {"max_completion_tokens": 128_001}, 422, "max_completion_tokens"),
    "too many stops": (body(stop=["a", "b", "c", "d", "e"]), 422, "stop"),
    "an unknown mode": (body(mode="quick"), 422, "mode"),
    "messages of a wrong type": ({"model": "relay/tiny-chat", "messages": "Hello!"}, 422, "messages"),
    "an unknown model": (body() | {"model": "no/such-model"}, 404, "model"),
    "stream with async": (body(stream=True, mode="direct", **{"async": True}), 400, "async"),
    "stream with opengpu": (body(stream=True, mode="opengpu"), 400, "stream"),
    "a body of 20 MB": (body("x" * (20 * 10**6)), 413, ""),
}


@pytest.fixture
def store(network: RunningNetwork) -> Iterator[Redis]:
    with Redis.from_url(network.up["redis_url"]) as redis:
        yield redis


def stored(redis: Redis) -> set[bytes]:
    return {key for pattern in STORED for key in redis.scan_iter(pattern, count=1000)}


@pytest.mark.parametrize("case", BAD)
async def test_refused(network: RunningNetwork, store: Redis, case: str) -> None:
    sent, status, named = BAD[case]
    before = stored(store)
    async with httpx.AsyncClient(base_url=network.up["base_url"], trust_env=False, timeout=30) as http:
        answer = await http.post(
            CHAT,
            content=sent if isinstance(sent, bytes) else json.dumps(sent),
            headers={"authorization": f"Bearer {network.up['api_key']}", "content-type": "application/json"},
        )
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert error["source"] == "client"
    assert named in answer.text
    assert len(answer.content) < 10_000, "the input is not echoed"
    assert stored(store) == before


async def test_a_task_nobody_has(network: RunningNetwork) -> None:
    async with httpx.AsyncClient(base_url=network.up["base_url"], trust_env=False) as http:
        answer = await http.get("/v2/tasks/opengpu:00000000-0000-4000-8000-000000000000?wait=5")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "TASK_NOT_FOUND")
        for wait in ("0", "31", "soon"):
            refused = await http.get(f"/v2/tasks/opengpu:00000000-0000-4000-8000-000000000000?wait={wait}")
            assert refused.status_code == 422
            assert "wait" in refused.text
