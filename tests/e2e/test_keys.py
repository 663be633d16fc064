"""What the operator of scripts/up has: a superkey, the keys it makes, and guests who aren't kept short."""

from __future__ import annotations

import asyncio

import httpx

from tests.parts.network import RunningNetwork

KEYS = "/v2/customer/keys"
CHAT = "/v2/openai/v1/chat/completions"


async def test_a_superkey_makes_a_key_that_works_until_it_is_revoked(network: RunningNetwork) -> None:
    up = network.up
    async with httpx.AsyncClient(base_url=up["base_url"], timeout=60) as http:
        boss = {"X-API-Key": up["superkey"]}
        limits = {"rate_limits": {"opengpu": 2}}
        made = (await http.post(KEYS, headers=boss, json={"name": "e2e", "restrictions": limits})).json()
        body = {
            "model": "relay/tiny-chat",
            "mode": "opengpu",
            "max_tokens": 8,
            "messages": [{"role": "user", "content": "Hello!"}],
        }
        mine = {"Authorization": f"Bearer {made['key']}"}
        replies = [await http.post(CHAT, headers=mine, json=body) for _ in range(3)]
        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert int(replies[2].headers["retry-after"]) <= 30
        assert (await http.post(KEYS, headers={"X-API-Key": up["api_key"]}, json={"name": "no"})).status_code == 403
        await http.post(f"{KEYS}/{made['key_id']}/revoke", headers=boss)
        assert (await http.post(CHAT, headers=mine, json=body)).json()["error"]["code"] == "KEY_REVOKED"
        assert (await http.delete(f"{KEYS}/{made['key_id']}", headers=boss)).status_code == 200


async def test_forty_guests_at_once(network: RunningNetwork) -> None:
    body = {
        "model": "relay/tiny-chat",
        "mode": "direct",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    async with httpx.AsyncClient(base_url=network.up["base_url"], timeout=90) as http:
        replies = await asyncio.gather(*(http.post(CHAT, json=body) for _ in range(40)))
    assert {reply.status_code for reply in replies} == {200}
