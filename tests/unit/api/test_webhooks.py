"""Webhooks over HTTP: which requests may have one, and an account's own deliveries and secret."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from coordinator.lifecycle.webhooks import Webhook
from tests.fakes.relay import GOOD_KEY
from tests.unit.api.conftest import World
from tests.unit.api.keyed import Keyed, keyed
from tests.unit.store.hooked import DOWN, OK, Hooked

HOOKS = "/v2/customer/webhooks"
URL = "https://hooks.example/s3cr3t"


async def ask(world: World, url: Any, *, key: str | None = GOOD_KEY, **fields: Any) -> Any:
    headers = {"X-API-Key": key} if key else {}
    body = {"model": "relay/both", "messages": [{"role": "user", "content": "Hello!"}], "webhook_url": url, **fields}
    return await world.client.post("/v2/openai/v1/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize("mode", ["direct", "opengpu"])
async def test_an_asynchronous_request_with_a_key_may_have_one(world: World, mode: str) -> None:
    assert (await ask(world, URL, mode=mode, **{"async": True})).status_code == 202
    [order] = world.relay.orders
    assert order.webhook == Webhook(URL, "hooks.example:443", "default")
    assert b"webhook" not in order.request


@pytest.mark.parametrize(
    ("url", "key", "fields", "status", "code"),
    [
        (URL, GOOD_KEY, {}, 400, "VALIDATION_ERROR"),
        (URL, GOOD_KEY, {"async": False}, 400, "VALIDATION_ERROR"),
        (URL, GOOD_KEY, {"async": True, "stream": True}, 400, "VALIDATION_ERROR"),
        (URL, None, {"async": True}, 401, "MISSING_CREDENTIALS"),
        (URL, "relay_sk_bad", {"async": True}, 401, "INVALID_API_KEY"),
        ("https://user:s3cr3t@hooks.example", GOOD_KEY, {"async": True}, 422, "VALIDATION_ERROR"),
        ("https://127.0.0.1/s3cr3t", GOOD_KEY, {"async": True}, 422, "VALIDATION_ERROR"),
        ("https://2130706433/s3cr3t", GOOD_KEY, {"async": True}, 422, "VALIDATION_ERROR"),
        ("http://hooks.example/s3cr3t", GOOD_KEY, {"async": True}, 422, "VALIDATION_ERROR"),
        ("https://s3cr3t.nowhere.test", GOOD_KEY, {"async": True}, 422, "VALIDATION_ERROR"),
        ("https://hooks.example/" + "s3cr3t" * 400, GOOD_KEY, {"async": True}, 422, "VALIDATION_ERROR"),
        (7, GOOD_KEY, {"async": True}, 422, "VALIDATION_ERROR"),
        ("", GOOD_KEY, {"async": True}, 422, "VALIDATION_ERROR"),
    ],
)
async def test_the_others_may_not(
    world: World, url: Any, key: str | None, fields: dict[str, Any], status: int, code: str
) -> None:
    reply = await ask(world, url, key=key, **fields)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text
    assert "s3cr3t" not in reply.text
    assert world.untouched


async def test_null_is_none(world: World) -> None:
    assert (await ask(world, None, mode="direct")).status_code == 200


# ── an account's own ─────────────────────────────────────────────────────────


@pytest.fixture
async def world_of_keys() -> AsyncIterator[Keyed]:
    async with keyed() as one:
        yield one


async def get(one: Keyed, path: str, method: str = "GET", **more: Any) -> Any:
    return await one.client.request(method, HOOKS + path, headers={"X-API-Key": one.superkey}, **more)


async def test_the_secret_is_made_once_and_rotated(world_of_keys: Keyed) -> None:
    first = await get(world_of_keys, "/secret")
    assert first.headers["cache-control"] == "no-store"
    secret = first.json()["secret"]
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret[6:], validate=True)) == 32
    assert first.json()["previous_valid_until"] is None
    assert (await get(world_of_keys, "/secret")).json()["secret"] == secret
    rotated = (await get(world_of_keys, "/secret/rotate", "POST")).json()
    assert rotated["secret"] != secret
    assert rotated["previous_valid_until"] > rotated["created_at"]
    leaked = (await get(world_of_keys, "/secret/rotate", "POST", params={"previous_valid_seconds": 0})).json()
    assert leaked["previous_valid_until"] is None
    assert (await get(world_of_keys, "/secret/rotate?previous_valid_seconds=604801", "POST")).status_code == 422


async def test_deliveries_are_listed_read_and_made_again(world_of_keys: Keyed) -> None:
    hooked = Hooked(world_of_keys.redis)
    [delivered, failing, waiting] = [await hooked.submit() for _ in range(3)]
    for number, task_id in enumerate((delivered, failing, waiting)):
        await hooked.redis.zadd("relay:webhooks:of:acme", {task_id: number})
    await hooked.submit(account="other")
    for task_id, outcome in ((delivered, OK), (failing, DOWN)):
        assert await hooked.end() == task_id
        await hooked.hooks.finish(await hooked.attempt(), outcome)

    body = (await get(world_of_keys, "/deliveries")).json()
    assert [row["status"] for row in body["deliveries"]] == ["waiting", "pending", "delivered"]
    assert body | {"deliveries": []} == {"deliveries": [], "limit": 20, "has_more": False, "next_cursor": None}
    page = (await get(world_of_keys, "/deliveries?limit=1&status=pending")).json()["deliveries"]
    assert page[0] == body["deliveries"][1]
    row = (await get(world_of_keys, f"/deliveries/msg_{failing}")).json()
    assert row == (await get(world_of_keys, f"/deliveries/{failing}")).json() == page[0]
    assert (row["delivery_id"], row["task_id"], row["event"]) == (f"msg_{failing}", failing, "task.completed")
    assert (row["attempts"], row["response_status"], row["error"]) == (1, None, "connection_failed")
    assert row["next_attempt_at"] > row["last_attempt_at"]

    first = (await get(world_of_keys, "/deliveries?limit=2")).json()
    assert first["next_cursor"] == f"msg_{failing}"
    rest = (await get(world_of_keys, "/deliveries", params={"starting_after": first["next_cursor"]})).json()
    assert [row["task_id"] for row in rest["deliveries"]] == [delivered]

    again = await get(world_of_keys, f"/deliveries/msg_{delivered}/redeliver", "POST")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert (await hooked.attempt()).task_id == delivered
    early = await get(world_of_keys, f"/deliveries/msg_{waiting}/redeliver", "POST")
    assert (early.status_code, early.json()["error"]["code"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("name", ["msg_direct:00000000-0000-4000-8000-000000000000", "nonsense", "%00", "relay"])
async def test_what_is_not_there(world_of_keys: Keyed, name: str) -> None:
    for path, method in ((f"/deliveries/{name}", "GET"), (f"/deliveries/{name}/redeliver", "POST")):
        reply = await get(world_of_keys, path, method)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "WEBHOOK_DELIVERY_NOT_FOUND")
    if name == "nonsense":
        assert (await get(world_of_keys, f"/deliveries?starting_after={name}")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/secret"), ("POST", "/secret/rotate"), ("GET", "/deliveries"), ("GET", "/deliveries/x"),
     ("POST", "/deliveries/x/redeliver")],
)  # fmt: skip
async def test_only_a_superkey_may(world_of_keys: Keyed, method: str, path: str) -> None:
    guest = await world_of_keys.client.request(method, HOOKS + path)
    assert (guest.status_code, guest.json()["error"]["code"]) == (401, "MISSING_CREDENTIALS")
    ordinary = await world_of_keys.client.request(method, HOOKS + path, headers={"X-API-Key": world_of_keys.ordinary})
    assert (ordinary.status_code, ordinary.json()["error"]["code"]) == (403, "CREDENTIAL_NOT_PERMITTED")
