"""/v2/customer/keys and /v2/tiers, with the store's own keys behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from coordinator.lifecycle.keys import NewKey
from tests.unit.api.keyed import CHAT, KEYS, Keyed, keyed

SCOPE = "opengpu.openai.relay/both"


def code(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


@pytest.fixture
async def world() -> AsyncIterator[Keyed]:
    async with keyed({"pro": {"max_keys": 5}}) as running:
        yield running


async def test_a_key_is_made_and_shown_in_full_once(world: Keyed) -> None:
    row = await world.made(name="laptop", restrictions={"model_restrictions": [SCOPE]}, key_budget=2.5)
    full = row["key"]
    assert full.startswith("relay_sk_")
    assert row == {
        "key_id": row["key_id"], "key": full, "name": "laptop", "status": "active", "tier": "pro",
        "is_superkey": False, "system": False, "created_at": row["created_at"], "revoked_at": None,
        "last_used_at": None, "restrictions": {"model_restrictions": [SCOPE], "rate_limits": {}},
        "key_budget": 2.5, "key_spent": 0,
    }  # fmt: skip
    listed = (await world.manage("GET")).text
    assert full not in listed
    assert f'"{full[:20]}..."' in listed
    assert (await world.ask(full, mode="opengpu")).status_code == 200
    assert world.relay.orders[0].caller == row["key_id"]
    [again] = [row for row in (await world.manage("GET")).json()["keys"] if row["name"] == "laptop"]
    assert again["last_used_at"] >= again["created_at"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_who_may_manage_keys(world: Keyed, method: str) -> None:
    bad = [({}, (401, "MISSING_CREDENTIALS")), ({"X-API-Key": "relay_sk_" + "x" * 40}, (401, "INVALID_API_KEY"))]
    bad.append(({"X-API-Key": world.ordinary}, (403, "CREDENTIAL_NOT_PERMITTED")))
    # the X-API-Key wins, whatever the other header says
    bad.append(({"X-API-Key": world.ordinary, "Authorization": f"Bearer {world.superkey}"}, bad[2][1]))
    for headers, expected in bad:
        assert code(await world.client.request(method, KEYS, headers=headers, content=b"no json")) == expected


async def test_an_accounts_keys_are_its_own(world: Keyed) -> None:
    _, foreign = await world.ring.create(NewKey("theirs", "other", "max"))
    assert "theirs" not in (await world.manage("GET")).text
    for method, path in [
        ("POST", "/revoke"), ("POST", "/unrevoke"), ("POST", "/topup"), ("PATCH", ""), ("DELETE", "")
    ]:  # fmt: skip
        reply = await world.manage(method, f"/{foreign.key_id}{path}", json={"amount": 1} if "topup" in path else {})
        assert code(reply) == (404, "KEY_NOT_FOUND"), path
    for nobody in ("key_" + "0" * 16, "key_1", "x:y"):
        assert code(await world.manage("POST", f"/{nobody}/revoke")) == (404, "KEY_NOT_FOUND")


async def test_the_list_is_the_newest_first_in_pages(world: Keyed) -> None:
    names = ["one", "two", "three"]
    for name in names:
        await world.made(name=name)
    body = (await world.manage("GET")).json()
    assert [row["name"] for row in body["keys"]] == [*reversed(names), "a service", "the boss"]
    assert {name: body[name] for name in ("total", "max_allowed", "limit", "has_more", "next_cursor")} == {
        "total": 5, "max_allowed": 5, "limit": 100, "has_more": False, "next_cursor": None
    }  # fmt: skip
    first = (await world.manage("GET", "?limit=3")).json()
    assert (len(first["keys"]), first["has_more"], first["total"]) == (3, True, 5)
    second = (await world.manage("GET", f"?limit=3&starting_after={first['next_cursor']}")).json()
    assert [row["name"] for row in second["keys"]] == ["a service", "the boss"]
    assert not second["has_more"]


async def test_filters(world: Keyed) -> None:
    made = await world.made(name="team-a")
    await world.made(name="team-b")
    await world.manage("POST", f"/{made['key_id']}/revoke")

    async def names(query: str) -> tuple[list[str], int]:
        body = (await world.manage("GET", query)).json()
        return [row["name"] for row in body["keys"]], body["total"]

    assert await names("?name_prefix=team-") == (["team-b", "team-a"], 2)
    assert await names("?name_prefix=team-&limit=1") == (["team-b"], 2)
    assert await names("?status=revoked") == (["team-a"], 1)
    assert await names("?status=active&name=team-a") == ([], 0)
    assert await names("?is_superkey=true") == (["the boss"], 1)
    for bad in ("limit=0", "limit=1001", "status=gone", "starting_after=x"):
        assert code(await world.manage("GET", f"?{bad}")) == (422, "VALIDATION_ERROR")
    assert code(await world.manage("GET", f"?starting_after=key_{'0' * 16}")) == (404, "KEY_NOT_FOUND")


async def test_a_key_is_revoked_at_once_taken_back_and_deleted(world: Keyed) -> None:
    made = await world.made()
    path = f"/{made['key_id']}"
    assert code(await world.manage("DELETE", path)) == (400, "VALIDATION_ERROR")
    row = (await world.manage("POST", f"{path}/revoke")).json()
    assert (row["status"], bool(row["revoked_at"])) == ("revoked", True)
    assert code(await world.ask(made["key"])) == (401, "KEY_REVOKED")
    row = (await world.manage("POST", f"{path}/unrevoke")).json()
    assert (row["status"], row["revoked_at"]) == ("active", None)
    assert (await world.ask(made["key"])).status_code == 200
    await world.manage("POST", f"{path}/revoke")
    assert (await world.manage("DELETE", path)).json() == {"key_id": made["key_id"], "deleted": True}
    assert code(await world.ask(made["key"])) == (401, "INVALID_API_KEY")
    assert code(await world.manage("POST", f"{path}/unrevoke")) == (404, "KEY_NOT_FOUND")
    assert await world.redis.keys(f"*{made['key_id']}*") == [b"relay:tat:" + made["key_id"].encode()]


async def test_an_account_has_as_many_keys_as_its_tier_allows(world: Keyed) -> None:
    made = [await world.made() for _ in range(3)]  # beside the superkey and the ordinary one
    assert code(await world.manage("POST", json={"name": "one more"})) == (403, "KEY_LIMIT_REACHED")
    await world.manage("POST", f"/{made[0]['key_id']}/revoke")
    assert code(await world.manage("POST", json={"name": "one more"})) == (403, "KEY_LIMIT_REACHED")
    await world.manage("DELETE", f"/{made[0]['key_id']}")
    await world.made()


async def test_changes(world: Keyed) -> None:
    path = f"/{(await world.made(key_budget='0.000000001'))['key_id']}"

    async def patched(**body: Any) -> Any:
        return (await world.manage("PATCH", path, json=body)).json()

    assert (await patched(name="other name"))["key_budget"] == 1e-9
    limits = {"model_restrictions": [SCOPE, SCOPE], "rate_limits": {"global": 7, "concurrent": 2}}
    row = await patched(restrictions=limits, key_budget=0.1)
    assert (row["name"], row["key_budget"]) == ("other name", 0.1)
    assert row["restrictions"] == limits | {"model_restrictions": [SCOPE]}
    row = await patched(restrictions={"rate_limits": None}, key_budget=None)
    assert (row["restrictions"], row["key_budget"]) == ({"model_restrictions": [], "rate_limits": {}}, None)
    assert await patched() == row


async def test_top_ups_are_exact(world: Keyed) -> None:
    path = f"/{(await world.made(key_budget=0.1))['key_id']}/topup"
    assert (await world.manage("POST", path, json={"amount": 0.2})).json()["key_budget"] == 0.3
    assert '"key_budget":0.300000001,' in (await world.manage("POST", path, json={"amount": "0.000000001"})).text
    assert code(await world.manage("POST", path, json={"amount": 1_000_000})) == (422, "VALIDATION_ERROR")
    # a key without a budget gets one: from what it has spent on
    unbound = (await world.made())["key_id"]
    digest = await world.redis.get(f"relay:keyid:{unbound}")
    await world.redis.hset(f"relay:key:{digest.decode()}", "spent_nano", 5 * 10**9)
    row = (await world.manage("POST", f"/{unbound}/topup", json={"amount": 1})).json()
    assert (row["key_budget"], row["key_spent"]) == (6, 5)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ab"},
        {"name": "x" * 101},
        {"name": 7},
        {"name": "two\nlines"},
        {"name": "relay_sk_0123456789"},
        {},
        {"name": "good", "more": 1},
        {"name": "good", "key_budget": -1},
        {"name": "good", "key_budget": "a lot"},
        {"name": "good", "key_budget": "NaN"},
        {"name": "good", "key_budget": True},
        {"name": "good", "key_budget": 1e-10},
        {"name": "good", "key_budget": 1e300},
        {"name": "good", "key_budget": 10**400},
        {"name": "good", "key_budget": "1e2"},
        {"name": "good", "key_budget": "12345678"},
        {"name": "good", "restrictions": {"model_restrictions": ["relay/both"]}},
        {"name": "good", "restrictions": {"model_restrictions": ["direct.openai.x\nopengpu.openai.y"]}},
        {"name": "good", "restrictions": {"rate_limits": {"direct": 0}}},
        {"name": "good", "restrictions": {"rate_limits": {"direct": "9"}}},
        {"name": "good", "restrictions": {"rate_limits": {"hourly": 9}}},
        {"name": "good", "restrictions": {"rate_limits": {"direct": 1201}}},  # above the tier's
    ],
)
async def test_bad_bodies(world: Keyed, body: dict[str, Any]) -> None:
    reply = await world.manage("POST", json=body)
    assert code(reply) == (422, "VALIDATION_ERROR")
    assert "a lot" not in reply.text
    assert "0123456789" not in reply.text


async def test_no_json_and_too_much_of_it(world: Keyed) -> None:
    assert code(await world.manage("POST", content=b"{")) == (422, "VALIDATION_ERROR")
    assert code(await world.manage("POST", content=b" " * 300_000)) == (413, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "path", [f"{KEYS}/{{}}/revoke", f"{KEYS}?name={{}}", "/v2/tasks/{}", f"{CHAT}?api_key={{}}", "/nowhere/{}"]
)
async def test_a_key_in_a_url_is_refused_wherever_it_is(world: Keyed, path: str) -> None:
    for key in (world.ordinary, world.ordinary.replace("_", "%5F"), "relay_sk_x"):
        reply = await world.client.post(path.format(key), headers={"X-API-Key": world.superkey})
        assert code(reply) == (400, "VALIDATION_ERROR")
        assert key not in reply.text


async def test_tiers(world: Keyed) -> None:
    body = (await world.client.get("/v2/tiers")).json()
    assert ([row["tier"] for row in body["tiers"]], body["current_tier"]) == (["guest", "basic", "pro", "max"], "guest")
    assert body["tiers"][0] == {
        "tier": "guest", "model_restrictions": [], "rate_limits": {"opengpu": 20, "direct": 20, "global": 30},
        "concurrent_tasks": 4, "max_keys": 0,
    }  # fmt: skip
    mine = await world.client.get("/v2/tiers", headers={"X-API-Key": world.ordinary})
    assert mine.json()["current_tier"] == "basic"
    assert code(await world.client.get("/v2/tiers", headers={"X-API-Key": "sk-bad"})) == (401, "INVALID_API_KEY")


async def test_what_a_tier_may_use_shows_in_the_lists() -> None:
    async with keyed({"guest": {"model_restrictions": ["direct.openai.direct-only"]}}) as world:
        body = (await world.client.get("/v2/models")).json()
        assert body["model_restrictions_per_tier"] == {
            "guest": ["direct.openai.direct-only"], "basic": [], "pro": [], "max": []
        }  # fmt: skip
        assert (await world.client.get("/v2/models/relay/both")).json()["restricted_tiers"] == ["guest"]
        assert (await world.client.get("/v2/models/direct-only")).json()["restricted_tiers"] == []
        assert code(await world.ask()) == (403, "MODEL_NOT_AVAILABLE")
        assert (await world.ask(model="direct-only")).status_code == 200


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 5000])
async def test_numbers_that_are_none(world: Keyed, number: str) -> None:
    reply = await world.manage("POST", content=f'{{"name": "good", "key_budget": {number}}}')
    assert code(reply) == (422, "VALIDATION_ERROR")
